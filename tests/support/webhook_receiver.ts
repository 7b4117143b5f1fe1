/** A fake of a customer's server: records webhooks and answers as the test says. */

export interface Received {
  path: string;
  headers: Record<string, string>;
  body: string;
  at: number;
}

export class WebhookReceiver {
  readonly received: Received[] = [];
  /** How it answers; by default 200. */
  answer: (request: Received) => Response | Promise<Response> = () => new Response("thanks");
  /** Requests without an answer yet, and their maximum so far. */
  open = 0;
  maxOpen = 0;
  readonly url: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const received = {
        path: new URL(request.url).pathname,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
        at: Date.now(),
      };
      this.received.push(received);
      this.maxOpen = Math.max(this.maxOpen, ++this.open);
      try {
        return await this.answer(received);
      } finally {
        this.open--;
      }
    });
    this.url = `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** The requests to a path. */
  at(path: string): Received[] {
    return this.received.filter((received) => received.path === path);
  }

  close(): Promise<void> {
    return this.#server.shutdown();
  }
}
