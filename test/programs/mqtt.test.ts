import { Aedes } from 'aedes';
import { MqttClient } from 'mqtt';
import { expect } from 'vitest';
import { describeProgram, once, type Stage } from './programs.js';

async function serveMqtt(stage: Stage): Promise<number> {
  const broker = await Aedes.createBroker();
  stage.atEnd(() => new Promise<void>((resolve) => broker.close(() => resolve())));
  return (await stage.serve((socket) => void broker.handle(socket))).port;
}

async function join(stage: Stage, port: number, options: object = {}): Promise<MqttClient> {
  const client = new MqttClient(() => stage.connect(port) as never, { reconnectPeriod: 0, ...options } as never);
  stage.atEnd(() => client.endAsync(true));
  await once(client, 'connect');
  return client;
}

describeProgram('aedes and mqtt', (play) => {
  play('publishes at every quality of service to who subscribed', async (stage) => {
    const port = await serveMqtt(stage);
    const listener = await join(stage, port);
    await listener.subscribeAsync('rooms/+/temperature', { qos: 2 });
    const heard: string[] = [];
    listener.on('message', (topic, payload) => heard.push(`${topic} ${payload}`));
    const sensor = await join(stage, port);
    for (const qos of [0, 1, 2] as const) await sensor.publishAsync('rooms/1/temperature', `at ${qos}`, { qos });
    await sensor.publishAsync('rooms/1/humidity', 'not asked for', { qos: 1 });
    await sensor.publishAsync('rooms/2/temperature', 'the last', { qos: 2 });
    while (!heard.includes('rooms/2/temperature the last')) await once(listener, 'message');
    expect(heard).toEqual([
      'rooms/1/temperature at 0',
      'rooms/1/temperature at 1',
      'rooms/1/temperature at 2',
      'rooms/2/temperature the last',
    ]);
  });

  play('keeps retained messages, and speaks the will of a client that is cut off', async (stage) => {
    const port = await serveMqtt(stage);
    const will = { topic: 'gone', payload: Buffer.from('without a word'), qos: 1, retain: false };
    const dying = await join(stage, port, { will });
    await dying.publishAsync('state', 'kept', { qos: 1, retain: true });
    const listener = await join(stage, port);
    const kept = once(listener, 'message');
    await listener.subscribeAsync(['state', 'gone'], { qos: 1 });
    expect(String((await kept)[1])).toBe('kept');
    const spoken = once(listener, 'message');
    dying.stream.destroy();
    expect((await spoken).slice(0, 2).map(String)).toEqual(['gone', 'without a word']);
  });

  play('carries a payload of 1 MB, and 1,000 small ones in order', async (stage) => {
    const port = await serveMqtt(stage);
    const listener = await join(stage, port);
    await listener.subscribeAsync('bulk', { qos: 1 });
    const sizes: number[] = [];
    let sum = 0;
    listener.on('message', (_, payload) => {
      sizes.push(payload.length);
      if (payload.length === 4) sum = sum * 7 + payload.readUInt32BE(0);
      sum %= 1_000_003;
    });
    const sender = await join(stage, port);
    const large = sender.publishAsync('bulk', Buffer.alloc(1_000_000, 'x'), { qos: 1 });
    let expected = 0;
    const all = [large];
    for (let i = 0; i < 1_000; i++) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(i);
      expected = (expected * 7 + i) % 1_000_003;
      all.push(sender.publishAsync('bulk', payload, { qos: 1 }));
    }
    await Promise.all(all);
    while (sizes.length < 1_001) await once(listener, 'message');
    expect([sizes[0], sizes.length, sum]).toEqual([1_000_000, 1_001, expected]);
  });
});
