import { generateKeyPairSync } from 'node:crypto';
import ssh from 'ssh2';
import { expect } from 'vitest';
import { describeProgram, once, PatternCheck, pattern, type Stage } from './programs.js';

const STREAM_BYTES = 4 * 1024 * 1024;
const hostKey = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
}).privateKey;

/** One that repeats its command, shouts what it is told, or pours. */
async function serveSsh(stage: Stage): Promise<number> {
  const server = new ssh.Server({ hostKeys: [hostKey] }, (client) => {
    client.on('error', () => {});
    client.on('authentication', (context) => {
      if (context.method === 'password' && context.password === 'secret') context.accept();
      else context.reject(['password']);
    });
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec, _, { command }) => {
        const channel = acceptExec();
        const finish = () => {
          channel.exit(command.length);
          channel.end();
        };
        if (command === 'shout') {
          channel.on('data', (chunk: Buffer) => channel.write(chunk.toString().toUpperCase()));
          channel.on('end', finish);
        } else if (command === 'pour') {
          pour(channel, finish);
        } else {
          channel.write(`$ ${command}`);
          finish();
        }
      });
    });
  });
  return (await stage.serve((socket) => server.injectSocket(socket))).port;
}

function pour(channel: ssh.ServerChannel, finish: () => void): void {
  const chunks = [...pattern(STREAM_BYTES)];
  const rest = (): void => {
    while (chunks.length > 0) {
      if (!channel.write(chunks.shift()!)) {
        channel.once('drain', rest);
        return;
      }
    }
    finish();
  };
  rest();
}

async function login(stage: Stage, port: number, password = 'secret'): Promise<ssh.Client> {
  const client = new ssh.Client();
  stage.atEnd(() => client.destroy());
  client.connect({ sock: stage.connect(port), username: 'reader', password });
  await Promise.race([once(client, 'ready'), once(client, 'error').then(([error]) => Promise.reject(error))]);
  return client;
}

/** `use` is called at once: what the command answers may stand behind the channel's opening in the same chunk. */
function exec<T>(client: ssh.Client, command: string, use: (channel: ssh.ClientChannel) => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => (error ? reject(error) : resolve(use(channel))));
  });
}

describeProgram('ssh2', (play) => {
  play('logs in, runs commands side by side, and tells their status', async (stage) => {
    const client = await login(stage, await serveSsh(stage));
    const run = (command: string, input?: string) =>
      exec(client, command, async (channel) => {
        let text = '';
        channel.on('data', (chunk: Buffer) => {
          text += chunk;
        });
        const ends = [once(channel, 'exit'), once(channel, 'close')];
        if (input !== undefined) channel.end(input);
        const [[status]] = await Promise.all(ends);
        return [text, status];
      });
    expect(await Promise.all([run('uptime'), run('shout', 'quietly'), run('who am i')])).toEqual([
      ['$ uptime', 6],
      ['QUIETLY', 5],
      ['$ who am i', 8],
    ]);
  });

  play('carries 4 MB, under its own flow control', async (stage) => {
    const client = await login(stage, await serveSsh(stage));
    const check = new PatternCheck(STREAM_BYTES);
    await exec(client, 'pour', (channel) => {
      channel.on('data', (chunk: Buffer) => check.add(chunk));
      return once(channel, 'close');
    });
    expect([check.bytes, check.wrongAt]).toEqual([STREAM_BYTES, -1]);
  });

  play('does not let a wrong password in', async (stage) => {
    const port = await serveSsh(stage);
    await expect(login(stage, port, 'guess')).rejects.toMatchObject({ level: 'client-authentication' });
  });
});
