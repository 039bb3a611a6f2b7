import mysql from 'mysql2';
import { expect } from 'vitest';
import { describeProgram, type Stage } from './programs.js';

interface ServerConnection {
  /** The next packet's number. Each command begins at 0 again, which mysql2's server leaves to its user. */
  sequenceId: number;
  on(event: string, listener: (...args: never[]) => void): void;
  serverHandshake(options: object): void;
  writeTextResult(rows: object[], columns: object[]): void;
  writeError(error: object): void;
  writeOk(): void;
}

/** A server that knows one table of numbers, and one mistake. */
async function serveMysql(stage: Stage): Promise<number> {
  const server = mysql.createServer(() => {}) as unknown as {
    on(event: 'connection', listener: (connection: ServerConnection) => void): void;
    _handleConnection(socket: object): void;
  };
  let number = 0;
  server.on('connection', (connection) => {
    connection.serverHandshake({
      protocolVersion: 10,
      serverVersion: '8.0.0-test',
      connectionId: ++number,
      statusFlags: 2,
      characterSet: 8,
      capabilityFlags: 0xffffff ^ 0x800 ^ 0x20,
      authCallback: (_: unknown, done: (error: null) => void) => {
        done(null);
        connection.sequenceId = 0;
      },
    });
    connection.on('error', () => {});
    const answerTo = (command: string, answer: (sql: string) => void): void =>
      connection.on(command, (sql: string) => {
        answer(sql);
        connection.sequenceId = 0;
      });
    answerTo('ping', () => connection.writeOk());
    answerTo('query', (sql: string) => {
      const rows = Number(/^SELECT (\d+) ROWS$/.exec(sql)?.[1] ?? -1);
      if (rows < 0) return connection.writeError({ code: 1064, message: `cannot read: ${sql}` });
      const text = { catalog: 'def', schema: 't', table: 't', orgTable: 't', characterSet: 33, columnLength: 384 };
      const columns = ['n', 'square'].map((name) => {
        return { ...text, name, orgName: name, columnType: 253, flags: 0, decimals: 0 };
      });
      const table = Array.from({ length: rows }, (_, n) => ({ n: String(n), square: String(n * n) }));
      connection.writeTextResult(table, columns);
    });
  });
  return (await stage.serve((socket) => server._handleConnection(socket))).port;
}

function connect(stage: Stage, port: number) {
  const connection = mysql.createConnection({ stream: (() => stage.connect(port)) as never, user: 'reader' });
  stage.atEnd(() => connection.destroy());
  return connection.promise();
}

describeProgram('mysql2, server and client', (play) => {
  play('answers queries, one after another and 20,000 rows at once', async (stage) => {
    const connection = connect(stage, await serveMysql(stage));
    await connection.ping();
    for (const rows of [0, 1, 3]) {
      const [table] = await connection.query(`SELECT ${rows} ROWS`);
      expect(table).toEqual(Array.from({ length: rows }, (_, n) => ({ n: String(n), square: String(n * n) })));
    }
    const [table] = (await connection.query('SELECT 20000 ROWS')) as unknown as [{ n: string; square: string }[]];
    expect([table.length, table[19_999]]).toEqual([20_000, { n: '19999', square: String(19_999 ** 2) }]);
  });

  play('tells of an error, and goes on', async (stage) => {
    const connection = connect(stage, await serveMysql(stage));
    await expect(connection.query('SELECT nonsense')).rejects.toMatchObject({ errno: 1064, code: 'ER_PARSE_ERROR' });
    const [table] = await connection.query('SELECT 1 ROWS');
    expect(table).toEqual([{ n: '0', square: '0' }]);
  });

  play('20 clients at once', async (stage) => {
    const port = await serveMysql(stage);
    const counts = Array.from({ length: 20 }, async (_, i) => {
      const connection = connect(stage, port);
      const [table] = (await connection.query(`SELECT ${i * 50} ROWS`)) as unknown as [object[]];
      await connection.end();
      return table.length;
    });
    expect(await Promise.all(counts)).toEqual(counts.map((_, i) => i * 50));
  });
});
