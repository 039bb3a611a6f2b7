/** `ringway echo`: sends each frame back, from a TypeScript handler on the frame server. */
import { type Command, Option } from 'commander';
import type { FramingName } from '../framing/shorthand.js';
import { createServer } from '../server.js';
import { drainOnSignal } from './drain-on-signal.js';
import { type EngineArguments, port, wholeNumber, withEngineOptions } from './parse-arguments.js';
import { readyLine } from './ready-line.js';

const FRAMINGS = ['length', 'line', 'raw'] as const satisfies readonly FramingName[];

interface EchoArguments extends EngineArguments {
  readonly host: string;
  readonly port: number;
  readonly framing: (typeof FRAMINGS)[number];
  readonly maxConnections?: number;
}

export function registerEcho(program: Command): void {
  const command = program
    .command('echo')
    .description(
      'Send each frame back, without a gateway: for a first try (--framing line, then nc), and for measuring. It speaks no RMP.',
    )
    .requiredOption('--port <port>', 'port to listen on; 0: any free one', port)
    .option('--host <address>', 'IP address to listen on; 0.0.0.0 or :: lets other machines in', '127.0.0.1')
    .addOption(
      new Option(
        '--framing <format>',
        'length: a u32 big-endian length and the payload; line: a line of text; raw: whatever comes',
      )
        .choices([...FRAMINGS])
        .default('length'),
    )
    .option(
      '--max-connections <n>',
      'open at once; more are closed at accept. 10000 by default',
      wholeNumber('a number of connections', 1, 2 ** 31 - 1),
    );
  withEngineOptions(command).action(async (options: EchoArguments) => {
    process.exitCode = await echo(options);
  });
}

async function echo({ host, port, framing, engine, reactors, maxConnections }: EchoArguments): Promise<number> {
  const server = createServer(
    { framing, host, port, maxConnections, engine: { kind: engine, reactors } },
    {
      frame(connection, frame) {
        // Who does not take its answers is not asked for more questions.
        if (!connection.send(frame)) connection.pause();
      },
      drain: (connection) => connection.resume(),
    },
  );
  try {
    const address = await server.listen();
    const ended = drainOnSignal(async () => {
      await server.close();
      return { cut: 0 };
    });
    console.log(readyLine(server.engine, [address]));
    return await ended;
  } finally {
    await server.close();
  }
}
