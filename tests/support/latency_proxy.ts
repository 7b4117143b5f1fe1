/** A line to a server on this machine that is as long as one wishes, and counts how often it is gone along. */

export interface LatencyProxy {
  port: number;
  /** How often a client has sent something after the server's last word: requests that were waited for. */
  roundTrips: number;
  stop(): Promise<void>;
}

/** Forwards TCP connections to `to`, each chunk of bytes `ms` milliseconds late, each way. */
export function startLatencyProxy(to: number, ms: number): LatencyProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  const line: LatencyProxy = {
    port: listener.addr.port,
    roundTrips: 0,
    stop: async () => {
      listener.close();
      for (const connection of [...open]) close(connection);
      await accepting;
    },
  };
  const accepting = (async () => {
    for await (const client of listener) {
      const server = await Deno.connect({ hostname: "127.0.0.1", port: to });
      let asked = false;
      carry(client, server, () => {
        if (!asked) line.roundTrips += 1;
        asked = true;
      });
      carry(server, client, () => asked = false);
    }
  })();
  return line;

  function close(connection: Deno.Conn): void {
    if (open.delete(connection)) connection.close();
  }

  async function carry(from: Deno.TcpConn, to: Deno.TcpConn, seen: () => void): Promise<void> {
    open.add(from);
    from.setNoDelay();
    let sent = Promise.resolve();
    const late = (work: () => void | Promise<void>) => {
      const due = new Promise((resolve) => setTimeout(resolve, ms));
      // One after the other: what came first goes first.
      sent = sent.then(() => due).then(work).catch(() => close(to)); // the other side has gone
    };
    const buffer = new Uint8Array(65_536);
    for (;;) {
      // A side that was cut off counts as one that has ended.
      const read = await from.read(buffer).catch(() => null);
      if (read === null) break;
      seen();
      const chunk = buffer.slice(0, read);
      late(async () => {
        for (let done = 0; done < read;) done += await to.write(chunk.subarray(done));
      });
    }
    late(() => close(to));
  }
}
