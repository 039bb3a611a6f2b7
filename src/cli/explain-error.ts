/** One line for what went wrong, with what to do about it: from an error of the system or of an engine. */

interface SystemError extends Error {
  readonly code?: string;
  readonly syscall?: string;
  readonly address?: string;
  readonly port?: number;
  readonly path?: string;
}

/** Codes that say that a command cannot run here, and that a stack trace would only hide. */
const EXPLAINED: Record<string, (error: SystemError) => string> = {
  EADDRINUSE: (error) =>
    error.port === undefined
      ? `${where(error)} is already there: stop the program that listens on it, or remove what a killed one left behind`
      : `${where(error)} is already in use by another program: stop it or choose another port`,
  EACCES: (error) =>
    error.port === undefined
      ? `${where(error)}: permission denied`
      : `not allowed to listen on ${where(error)}: ${lowPort(error)}`,
  EPERM: (error) => `${where(error)}: not allowed (${error.message})`,
  EADDRNOTAVAIL: (error) => `${where(error)} is not an address of this machine`,
  EAFNOSUPPORT: (error) => `${where(error)}: this machine does not speak that kind of address`,
  EMFILE: () =>
    'too few file descriptors: raise the limit (`ulimit -n`, LimitNOFILE= in a systemd unit); `ringway doctor` shows it',
  ENFILE: () => 'the machine is out of file descriptors: raise fs.file-max',
  ENOMEM: () =>
    'out of memory: with io_uring on an old kernel raise the memlock limit (`ulimit -l`); `ringway doctor` shows it',
  ENOENT: (error) => `${where(error)}: no such file`,
  EISDIR: (error) => `${where(error)}: is a folder, not a file`,
  ENOTDIR: (error) => `${where(error)}: no such folder`,
  ENOTFOUND: (error) => `${where(error)}: no such host`,
  ECONNREFUSED: (error) => `${where(error)}: nobody listens there`,
};

/** Errors that are sentences already. */
const PLAIN_CODES = ['ERR_ENGINE_UNAVAILABLE', 'ERR_RINGWAY_CONFIG', 'ERR_INVALID_OPTION', 'ERR_UNSUPPORTED'];

/** @returns undefined for an error that nobody expected: it deserves its stack. */
export function explainError(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as SystemError;
  if (code === undefined) return undefined;
  if (PLAIN_CODES.includes(code)) return error.message;
  return EXPLAINED[code]?.(error as SystemError);
}

function where({ address, port, path, message }: SystemError): string {
  if (port !== undefined) return formatAddress(address ?? '', port);
  return path ?? address ?? message;
}

/** `127.0.0.1:8080`, `[::1]:8080`. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function lowPort({ port }: SystemError): string {
  return port !== undefined && port < 1024 ? 'ports below 1024 need CAP_NET_BIND_SERVICE' : 'permission denied';
}
