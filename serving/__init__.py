"""The KServe model server for bundles: V2 over REST and gRPC, and V1, with ONNX Runtime underneath."""
