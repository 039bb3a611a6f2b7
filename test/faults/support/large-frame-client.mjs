// A process of its own, so that its work is not the measured clients': `node large-frame-client.mjs PORT ROUTE BYTES GAP_MS` sends one
// frame after another and waits GAP_MS after each answer. SIGTERM ends it with one line of JSON: {"sent":…,"answered":…,"wrong":…}.
import { connect } from 'node:net';

const [port, route, bytes, gapMs] = process.argv.slice(2).map(Number);
const HEADER_BYTES = 16;
const counts = { sent: 0, answered: 0, wrong: 0 };
const frame = Buffer.alloc(HEADER_BYTES + bytes, 0x5a);
frame.fill(0, 0, HEADER_BYTES);
frame.writeUInt32BE(12 + bytes, 0);
frame[4] = 1;
frame.writeUInt16BE(route, 6);
frame.writeUInt32BE(30_000, 12);

let received = 0;
let header = Buffer.alloc(0);
let ending = false;

const socket = connect({ host: '127.0.0.1', port });
socket.on('connect', send);
socket.on('data', (chunk) => {
  if (header.length < HEADER_BYTES) header = Buffer.concat([header, chunk.subarray(0, HEADER_BYTES - header.length)]);
  received += chunk.length;
  if (header.length < HEADER_BYTES || received < 4 + header.readUInt32BE(0)) return;
  counts.answered++;
  const right = header[4] === 2 && header.readUInt32BE(8) === counts.sent && header.readUInt32BE(12) === 0;
  if (!right || received !== frame.length) counts.wrong++;
  received = 0;
  header = Buffer.alloc(0);
  if (ending) end();
  else setTimeout(send, gapMs);
});
socket.on('close', end);
process.on('SIGTERM', () => {
  ending = true;
  if (counts.sent === counts.answered) end();
});
console.log('ready');

function send() {
  if (ending) return;
  frame.writeUInt32BE(++counts.sent, 8);
  socket.write(frame);
}

function end() {
  console.log(JSON.stringify(counts));
  process.exit(counts.wrong === 0 && counts.sent === counts.answered ? 0 : 1);
}
