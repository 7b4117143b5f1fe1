/** The fork server of the trainer's tests (`trainer/tests/support/fork_server.py`): trainings without eight seconds of imports each. */
import { join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";

const python = join(root, "trainer/.venv/bin/python");
const support = join(root, "trainer/tests/support");

/** Starts it with the environment of the training stack's workers. `command` is the value of TUNEBASE_TRAIN_COMMAND. */
export async function startForkServer(): Promise<{ command: string; stop(): Promise<void> }> {
  const directory = await Deno.makeTempDir({ prefix: "tunebase-" });
  const socket = join(directory, "fork");
  const child = new Deno.Command(python, {
    args: [join(support, "fork_server.py"), socket],
    clearEnv: true,
    env: {
      PATH: Deno.env.get("PATH") ?? "",
      HOME: Deno.env.get("HOME") ?? "/",
      // As the stack's workers and their training_environment (worker/process.py): a training with other values of what
      // libraries read when they are imported gets an interpreter of its own.
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
      HF_HUB_OFFLINE: "1",
      OMP_NUM_THREADS: "1",
      PYTORCH_ALLOC_CONF: "expandable_segments:True",
    },
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const words = [python, "-I", "-S", join(support, "fork_client.py"), socket, python];
  return {
    command: [...words, join(root, "trainer/train_lora.py")].map((word) => `'${word}'`).join(" "),
    stop: async () => {
      await child.stdin.close();
      await child.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}
