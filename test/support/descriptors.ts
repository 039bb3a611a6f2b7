/** Descriptors that nobody watches, for those who take over other people's sockets. */
import { createServer, type Server, type Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { TcpPeer } from './tcp-peer.js';

/** The handles of node:net hold on to descriptors that the test gives away: they are never touched again. */
const stolen: unknown[] = [];

function steal(owner: Socket | Server): number {
  const { fd } = (owner as unknown as { _handle: { fd: number } })._handle;
  stolen.push(owner);
  return fd;
}

/** A socket that is bound, and that nobody watches. */
export async function boundSocket(address: object): Promise<{ fd: number; port: number }> {
  const { TCP, Pipe, constants } = await wraps();
  if ('path' in address) {
    const handle = new Pipe(constants.SERVER);
    check(handle.bind((address as { path: string }).path));
    stolen.push(handle);
    return { fd: handle.fd, port: 0 };
  }
  const { host } = address as { host: string };
  const handle = new TCP(constants.SERVER);
  check(host.includes(':') ? handle.bind6(host, 0, 0) : handle.bind(host, 0));
  stolen.push(handle);
  const name = {} as { port: number };
  handle.getsockname(name);
  return { fd: handle.fd, port: name.port };
}

interface Wrap {
  readonly fd: number;
  bind(where: unknown, port?: number): number;
  bind6(host: string, port: number, flags: number): number;
  getsockname(out: object): number;
}

interface Wraps {
  readonly TCP: new (kind: number) => Wrap;
  readonly Pipe: new (kind: number) => Wrap;
  readonly constants: { readonly SERVER: number };
}

/** Node's own sockets, without anything around them: there is no other way to a bound one that does not listen. */
async function wraps(): Promise<Wraps> {
  const { binding } = process as unknown as { binding(name: string): Wraps };
  return { ...binding('tcp_wrap'), Pipe: binding('pipe_wrap').Pipe };
}

/** One end of a connection as a descriptor that nobody reads from, the other as a peer. */
export async function connectedSocket(): Promise<{ fd: number; peer: TcpPeer }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.unref();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const { port } = server.address() as { port: number };
  const peer = await TcpPeer.connect({ host: '127.0.0.1', port });
  return { fd: steal(await accepted), peer };
}

function check(error: number): void {
  if (error !== 0) throw new Error(`bind: ${getSystemErrorName(error)}`);
}
