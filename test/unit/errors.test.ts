import { expect, test } from 'vitest';
import { RingwayError, StatusError, statusName } from '../../src/index.js';

test('every error of the package is a RingwayError with a code; a status is one too', () => {
  const cause = new Error('behind it');
  const status = new StatusError('UNAVAILABLE', '100 %s full', { notExecuted: true, cause });
  expect(status).toBeInstanceOf(RingwayError);
  expect(status).toMatchObject({ name: 'StatusError', code: 'UNAVAILABLE', status: 14, message: '100 %s full', cause });
  expect(status).toMatchObject({ notExecuted: true, retryable: true, source: undefined });
  const plain = new RingwayError('ERR_SERVER_LISTENING');
  expect(plain).not.toBeInstanceOf(StatusError);
  expect(plain).toMatchObject({
    name: 'RingwayError',
    code: 'ERR_SERVER_LISTENING',
    retryable: false,
    status: undefined,
  });
});

test('a status outside the table keeps its number, in its code too', () => {
  expect(new StatusError(4711, 'passed through')).toMatchObject({
    status: 4711,
    code: 'STATUS_4711',
    retryable: false,
  });
  expect(statusName(0)).toBe('OK');
});

test('code tells the compiler which errors there are', () => {
  const told = (error: RingwayError): string => {
    switch (error.code) {
      case 'ERR_ENGINE_UNAVAILABLE':
      case 'UNAVAILABLE':
        return 'later';
      default:
        // @ts-expect-error: the two above were all of them that are called so
        return error.code === 'UNAVAILABLE' ? 'never' : error.code;
    }
  };
  expect(told(new StatusError('UNAVAILABLE', ''))).toBe('later');
});
