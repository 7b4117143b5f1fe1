/** A TCP proxy to a local server that adds latency and counts round trips. */

export interface LatencyProxy {
  port: number;
  /** How often a client sent data after the server's last response. */
  roundTrips: number;
  stop(): Promise<void>;
}

/** Forwards TCP connections to port `to` with `ms` milliseconds of latency each way; listens on a free port unless `at` says where. */
export function startLatencyProxy(
  to: number,
  ms: number,
  at = { hostname: "127.0.0.1", port: 0 },
): LatencyProxy {
  const listener = Deno.listen(at);
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
      // In order.
      sent = sent.then(() => due).then(work).catch(() => close(to)); // the other side has closed
    };
    const buffer = new Uint8Array(65_536);
    for (;;) {
      // A broken connection counts as closed.
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
