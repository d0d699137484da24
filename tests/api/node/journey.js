// The main job with the AWS SDK for JavaScript v3, then its two habits that servers trip over: it
// keeps the caller's order of context names, and it corrects a wrong clock by the Date header.
// Configuration comes from the environment, as rig.sh exports it. Exit status 0: all as expected.
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { KMSClient, ...commands } = require('@aws-sdk/client-kms');

const HOUR_MS = 3600 * 1000;

function makeClient(options = {}) {
  return new KMSClient({
    endpoint: process.env.AWS_ENDPOINT_URL_KMS,
    region: process.env.AWS_DEFAULT_REGION,
    ...options,
  });
}

const send = (client, name, input = {}) => client.send(new commands[`${name}Command`](input));

async function refused(promise, name) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, name, `${error.name}: ${error.message}`);
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
}

async function journey(client) {
  const { KeyMetadata: key } = await send(client, 'CreateKey', { Description: 'node ü' });
  assert.equal(key.KeyState, 'Enabled');
  assert.ok(key.CreationDate instanceof Date);
  const alias = `alias/node-${key.KeyId}`;
  await send(client, 'CreateAlias', { AliasName: alias, TargetKeyId: key.KeyId });

  const forwards = { zeta: '1', alpha: 'é', key: '\u{1f511}', 'aws:s3:arn': 'arn:aws:s3:::b/k' };
  const backwards = Object.fromEntries(Object.entries(forwards).reverse());
  const made = await send(client, 'GenerateDataKey',
    { KeyId: alias, KeySpec: 'AES_256', EncryptionContext: forwards });
  assert.equal(made.Plaintext.length, 32);
  assert.equal(made.KeyId, key.Arn);
  const opened = await send(client, 'Decrypt',
    { CiphertextBlob: made.CiphertextBlob, EncryptionContext: backwards });
  assert.deepEqual(opened.Plaintext, made.Plaintext);
  await refused(send(client, 'Decrypt', { CiphertextBlob: made.CiphertextBlob }),
    'InvalidCiphertextException');

  await send(client, 'RotateKeyOnDemand', { KeyId: key.KeyId });
  const again = await send(client, 'Decrypt',
    { CiphertextBlob: made.CiphertextBlob, EncryptionContext: backwards, KeyId: alias });
  assert.deepEqual(again.Plaintext, made.Plaintext);
  const { Rotations } = await send(client, 'ListKeyRotations', { KeyId: key.KeyId });
  assert.equal(Rotations.length, 1);

  const sealed = await send(client, 'Encrypt', { KeyId: key.Arn, Plaintext: Buffer.from('hello') });
  const moved = await send(client, 'ReEncrypt',
    { CiphertextBlob: sealed.CiphertextBlob, DestinationKeyId: alias });
  assert.equal(moved.SourceKeyId, key.Arn);

  await send(client, 'DisableKey', { KeyId: key.KeyId });
  await refused(send(client, 'Encrypt', { KeyId: key.KeyId, Plaintext: Buffer.from('x') }),
    'DisabledException');
  await send(client, 'EnableKey', { KeyId: key.KeyId });
  await refused(send(client, 'DescribeKey', { KeyId: 'alias/none' }), 'NotFoundException');
  await send(client, 'DeleteAlias', { AliasName: alias });
  return key;
}

async function pages(client) {
  for (let i = 0; i < 5; i++)
    await send(client, 'CreateKey');
  const seen = [];
  for await (const page of commands.paginateListKeys({ client, pageSize: 2 }, {}))
    seen.push(...page.Keys.map((entry) => entry.KeyId));
  assert.equal(new Set(seen).size, seen.length);
  assert.ok(seen.length >= 6);
}

async function wrongClock() {
  for (const offset of [HOUR_MS, -HOUR_MS]) {
    const client = makeClient({ systemClockOffset: offset });
    const { $metadata } = await send(client, 'ListKeys');
    assert.equal($metadata.attempts, 2, 'the first attempt is refused, the second is right');
    for (let i = 0; i < 3; i++)
      assert.equal((await send(client, 'ListKeys')).$metadata.attempts, 1);
    client.destroy();
  }
}

async function wrongSecret() {
  const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: 'x'.repeat(43) };
  await refused(send(makeClient({ credentials }), 'ListKeys'), 'InvalidSignatureException');
}

async function main() {
  const client = makeClient();
  await journey(client);
  await pages(client);
  await wrongClock();
  await wrongSecret();
  client.destroy();
  const { version } = JSON.parse(readFileSync(require.resolve('@aws-sdk/client-kms/package.json')));
  console.log(`client-kms ${version}: ok`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
