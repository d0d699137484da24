// The main job with the AWS SDK for JavaScript v2, which signs, orders and retries by code of its
// own. Configuration comes from the environment, as rig.sh exports it. Exit status 0: all as
// expected.
'use strict';

process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = '1';

const assert = require('node:assert/strict');
const AWS = require('aws-sdk');

const kms = new AWS.KMS({
  endpoint: process.env.AWS_ENDPOINT_URL_KMS,
  region: process.env.AWS_DEFAULT_REGION,
  maxRetries: 2,
});

const send = (name, input = {}) => kms[name](input).promise();

async function refused(promise, code) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`);
    assert.equal(error.statusCode, 400);
    assert.match(error.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
}

async function main() {
  const { KeyMetadata: key } = await send('createKey', { Description: 'node v2 ü' });
  assert.equal(key.KeyState, 'Enabled');
  assert.ok(key.CreationDate instanceof Date);

  const forwards = { zeta: '1', alpha: 'é', key: '\u{1f511}', 'aws:s3:arn': 'arn:aws:s3:::b/k' };
  const backwards = Object.fromEntries(Object.entries(forwards).reverse());
  const made = await send('generateDataKey',
    { KeyId: key.KeyId, KeySpec: 'AES_256', EncryptionContext: forwards });
  assert.equal(made.Plaintext.length, 32);
  const open = (context) => send('decrypt',
    { CiphertextBlob: made.CiphertextBlob, EncryptionContext: context });
  assert.deepEqual((await open(backwards)).Plaintext, made.Plaintext);
  await send('rotateKeyOnDemand', { KeyId: key.KeyId });
  assert.deepEqual((await open(forwards)).Plaintext, made.Plaintext);
  assert.equal((await send('listKeyRotations', { KeyId: key.KeyId })).Rotations.length, 1);

  await refused(open({}), 'InvalidCiphertextException');
  await refused(send('describeKey', { KeyId: 'alias/none' }), 'NotFoundException');
  await send('disableKey', { KeyId: key.KeyId });
  await refused(send('encrypt', { KeyId: key.KeyId, Plaintext: Buffer.from('x') }),
    'DisabledException');
  console.log(`aws-sdk ${AWS.VERSION}: ok`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
