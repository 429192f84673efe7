"""An object store that speaks S3, for as long as stdin is open.

It prints a line of JSON: its port, and a key that its signatures are checked with.
"""

import json
import logging
import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="setup", AWS_SECRET_ACCESS_KEY="setup", AWS_DEFAULT_REGION="us-east-1")

import boto3
import requests
from moto.server import ThreadedMotoServer

EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"

iam = boto3.client("iam", endpoint_url=url)
iam.create_user(UserName="cowrite")
iam.put_user_policy(UserName="cowrite", PolicyName="s3", PolicyDocument=json.dumps(EVERYTHING))
key = iam.create_access_key(UserName="cowrite")["AccessKey"]
boto3.client("s3", endpoint_url=url).create_bucket(Bucket="backups")
# From now on each request needs a right signature of somebody who may.
requests.post(f"{url}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()

print(json.dumps({"port": port, "key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}), flush=True)
sys.stdin.read()
server.stop()
