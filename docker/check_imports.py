"""See that an image has all that the modules in it import, and the AWS services that they use."""

import importlib
import pkgutil

import boto3

from slipway import components, serving

for service in ("s3", "sts", "kms"):
    boto3.client(service, region_name="us-east-1")
for package in (components, serving):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
