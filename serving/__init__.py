"""The KServe model server for bundles. It speaks V2 over REST and gRPC, and V1 over REST, and runs ONNX Runtime."""
