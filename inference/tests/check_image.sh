#!/usr/bin/env bash
# Checks the image on a machine without a GPU: check_image.sh IMAGE. vLLM itself does not start there.
set -euo pipefail
image=$1

echo "The command names a missing setting:"
set +e
output=$(docker run --rm "$image" 2>&1)
status=$?
set -e
echo "$output"
[[ $status -eq 2 && $output == *TUNEBASE_INFERENCE_SECRET* ]]

echo "vLLM finds the plugin and accepts the resolver and the middleware:"
docker run --rm --entrypoint python3 \
  -e TUNEBASE_INFERENCE_SECRET=0123456789abcdef0123456789abcdef -e TUNEBASE_ENDPOINT_ID=check -e TUNEBASE_BASE_MODEL=org/base \
  "$image" -c '
from importlib.metadata import entry_points
[plugin] = [entry for entry in entry_points(group="vllm.general_plugins") if entry.name == "tunebase"]
plugin.load()()
from vllm.lora.resolver import LoRAResolverRegistry
assert "tunebase" in LoRAResolverRegistry.get_supported_resolvers()
from tunebase_inference.middleware import TokenMiddleware
TokenMiddleware(None)
print("ok")'
