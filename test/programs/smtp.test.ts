import { createTransport } from 'nodemailer';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { expect } from 'vitest';
import { cert, key } from './certificate.js';
import { describeProgram, type Stage } from './programs.js';

interface Mail {
  readonly from: unknown;
  readonly to: readonly string[];
  readonly text: string;
  readonly secure: boolean;
}

async function serveSmtp(stage: Stage, options: SMTPServerOptions = {}): Promise<{ port: number; mails: Mail[] }> {
  const mails: Mail[] = [];
  const server = new SMTPServer({
    key,
    cert,
    authOptional: true,
    disableReverseLookup: true,
    onAuth: (auth, _, done) =>
      auth.username === 'reader' && auth.password === 'secret'
        ? done(null, { user: 'reader' })
        : done(new Error('wrong user or password')),
    onData(stream, session, done) {
      let text = '';
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        const to = rcptTo.map(({ address }) => address);
        mails.push({ from: mailFrom === false ? '' : mailFrom.address, to, text, secure: session.secure === true });
        done();
      });
    },
    ...options,
  });
  stage.atEnd(() => new Promise<void>((resolve) => server.close(() => resolve())));
  server.on('error', () => {});
  // What its own server's connection listener calls.
  const { connect } = server as unknown as { connect(socket: object, options: object): void };
  const { port } = await stage.serve((socket) => connect.call(server, socket, {}));
  return { port, mails };
}

function mailer(stage: Stage, port: number, options: object = {}) {
  const transport = createTransport({
    host: 'localhost',
    tls: { ca: cert },
    ...options,
    connection: stage.connect(port),
  } as never);
  stage.atEnd(() => transport.close());
  return transport;
}

const letter = { from: 'a@example.org', to: ['b@example.org', 'c@example.org'], subject: 'Greetings' };

describeProgram('smtp-server and nodemailer', (play) => {
  play('delivers a letter after STARTTLS and a login', async (stage) => {
    const { port, mails } = await serveSmtp(stage);
    const auth = { user: 'reader', pass: 'secret' };
    const sent = await mailer(stage, port, { requireTLS: true, auth }).sendMail({
      ...letter,
      text: 'Dear all,\n.\nbye',
    });
    expect(sent.accepted).toEqual(letter.to);
    expect(mails).toMatchObject([{ from: letter.from, to: letter.to, secure: true }]);
    expect(mails[0].text).toContain('Subject: Greetings\r\n');
    expect(mails[0].text.split('\r\n\r\n')[1]).toBe('Dear all,\r\n.\r\nbye\r\n');
  });

  play('delivers 5 MB of attachment', async (stage) => {
    const { port, mails } = await serveSmtp(stage);
    const content = Buffer.alloc(5_000_000, 'attached ');
    await mailer(stage, port, { ignoreTLS: true }).sendMail({
      ...letter,
      text: 'see there',
      attachments: [{ content }],
    });
    const encoded = mails[0].text.split('\r\n\r\n')[3].split('\r\n--')[0];
    expect(Buffer.from(encoded, 'base64').equals(content)).toBe(true);
  });

  play('says no to a wrong password and to an unknown recipient', async (stage) => {
    const onRcptTo: SMTPServerOptions['onRcptTo'] = ({ address }, _, done) =>
      done(address.startsWith('b@') ? null : Object.assign(new Error('no such user'), { responseCode: 550 }));
    const { port } = await serveSmtp(stage, { onRcptTo });
    const wrong = mailer(stage, port, { auth: { user: 'reader', pass: 'guess' } });
    await expect(wrong.sendMail({ ...letter, text: '' })).rejects.toMatchObject({ code: 'EAUTH', responseCode: 535 });
    const sent = await mailer(stage, port).sendMail({ ...letter, text: '' });
    expect([sent.accepted, sent.rejected]).toEqual([['b@example.org'], ['c@example.org']]);
  });
});
