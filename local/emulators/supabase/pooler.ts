/**
 * Emulates the pooler's address: clients log in as `ROLE.REF`, and the pooler connects to the project's database as ROLE.
 * Differs: each client has its own server connection until it disconnects. So features that fail in transaction mode (prepared
 * statements, LISTEN, session settings) work here.
 */
export interface Pooler {
  stop(): Promise<void>;
}

const protocol3 = 196_608;
const cancelRequest = 80_877_102;
const encryptionRequests = [80_877_103, 80_877_104];
const maxStartupBytes = 10_000;

/** Listens on this machine. */
export function startPooler({ port, databasePort, ref }: {
  port: number;
  databasePort: number;
  ref: string;
}): Pooler {
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  const open = new Set<Deno.TcpConn>();
  const close = (connection: Deno.TcpConn) => {
    if (!open.delete(connection)) return;
    connection.close();
  };

  async function serve(client: Deno.TcpConn): Promise<void> {
    open.add(client);
    client.setNoDelay(true);
    try {
      const startup = await readStartup(client);
      const message = startup === null ? null : route(startup, ref);
      if (message === null) {
        await writeAll(client, tenantNotFound);
        return;
      }
      const database = await Deno.connect({ hostname: "127.0.0.1", port: databasePort });
      open.add(database);
      database.setNoDelay(true);
      try {
        await writeAll(database, message);
        await Promise.race([copy(client, database), copy(database, client)]);
      } finally {
        close(database);
      }
    } catch {
      // The client or the database has closed its connection.
    } finally {
      close(client);
    }
  }

  const serving = (async () => {
    for await (const client of listener) void serve(client);
  })();
  return {
    stop: async () => {
      listener.close();
      for (const connection of [...open]) close(connection);
      await serving;
    },
  };
}

/** The first message that is not a request for encryption, which is declined. */
async function readStartup(client: Deno.TcpConn): Promise<Uint8Array | null> {
  for (;;) {
    const head = await readExactly(client, 8);
    const view = new DataView(head.buffer);
    const length = view.getInt32(0);
    if (encryptionRequests.includes(view.getInt32(4))) {
      await writeAll(client, new TextEncoder().encode("N"));
      continue;
    }
    if (length < 8 || length > maxStartupBytes) return null;
    const message = new Uint8Array(length);
    message.set(head);
    message.set(await readExactly(client, length - 8), 8);
    return message;
  }
}

/** The startup message with the database's role as its user; null for another project's user. */
function route(message: Uint8Array, ref: string): Uint8Array | null {
  const code = new DataView(message.buffer, message.byteOffset).getInt32(4);
  if (code === cancelRequest) return message;
  if (code !== protocol3) return null;
  const parts = new TextDecoder().decode(message.subarray(8)).split("\0");
  const index = parts.findIndex((part, at) => at % 2 === 0 && part === "user");
  const user = parts[index + 1];
  if (index < 0 || user === undefined || !user.endsWith(`.${ref}`)) return null;
  parts[index + 1] = user.slice(0, -ref.length - 1);
  const body = new TextEncoder().encode(parts.join("\0"));
  const routed = new Uint8Array(8 + body.length);
  const view = new DataView(routed.buffer);
  view.setInt32(0, routed.length);
  view.setInt32(4, code);
  routed.set(body, 8);
  return routed;
}

const tenantNotFound = (() => {
  const body = new TextEncoder().encode("SFATAL\0CXX000\0MTenant or user not found\0\0");
  const message = new Uint8Array(5 + body.length);
  message[0] = "E".charCodeAt(0);
  new DataView(message.buffer).setInt32(1, 4 + body.length);
  message.set(body, 5);
  return message;
})();

async function readExactly(connection: Deno.TcpConn, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let read = 0; read < length;) {
    const count = await connection.read(bytes.subarray(read));
    if (count === null) throw new Deno.errors.UnexpectedEof();
    read += count;
  }
  return bytes;
}

async function copy(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    await writeAll(to, buffer.subarray(0, count));
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
}
