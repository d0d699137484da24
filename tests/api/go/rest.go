// The rest of the journey: other kinds of keys, other people, lists and states.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

var message = []byte("what is to be signed")

// refused checks that an error is one of the SDK's own types.
func refused[E error](err error, what string) {
	var expected E
	check(errors.As(err, &expected), what)
}

// denied checks for the refusal that has no type.
func denied(err error, what string) {
	var answer smithy.APIError
	check(errors.As(err, &answer) && answer.ErrorCode() == "AccessDeniedException", what)
}

func newKey(ctx context.Context, client *kms.Client, spec types.KeySpec, usage types.KeyUsageType) *string {
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	must(err)
	return made.KeyMetadata.KeyId
}

func moves(ctx context.Context, client *kms.Client, from *string) {
	alias := aws.String("alias/go-" + *from)
	_, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: alias, TargetKeyId: from})
	must(err)
	sealed, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: alias, Plaintext: message})
	must(err)
	to := newKey(ctx, client, types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt)
	moved, err := client.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: sealed.CiphertextBlob, DestinationKeyId: to})
	must(err)
	opened, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, KeyId: to})
	must(err)
	check(bytes.Equal(opened.Plaintext, message), "a move changes what it moves")
	_, err = client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, KeyId: alias})
	refused[*types.IncorrectKeyException](err, "the old key opens it")
}

func signatures(ctx context.Context, client *kms.Client) {
	key := newKey(ctx, client, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	made, err := client.Sign(ctx, &kms.SignInput{
		KeyId: key, Message: message, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	must(err)
	public, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: key})
	must(err)
	parsed, err := x509.ParsePKIXPublicKey(public.PublicKey)
	must(err)
	digest := sha256.Sum256(message)
	check(ecdsa.VerifyASN1(parsed.(*ecdsa.PublicKey), digest[:], made.Signature), "Go does not verify it")

	verify := &kms.VerifyInput{KeyId: key, Message: message, Signature: made.Signature,
		SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}
	_, err = client.Verify(ctx, verify)
	must(err)
	verify.Message = []byte("other")
	_, err = client.Verify(ctx, verify)
	refused[*types.KMSInvalidSignatureException](err, "another message is verified")
}

func macs(ctx context.Context, client *kms.Client) {
	key := newKey(ctx, client, types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac)
	made, err := client.GenerateMac(ctx, &kms.GenerateMacInput{
		KeyId: key, Message: message, MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	must(err)
	verify := &kms.VerifyMacInput{KeyId: key, Message: message, Mac: made.Mac,
		MacAlgorithm: types.MacAlgorithmSpecHmacSha256}
	_, err = client.VerifyMac(ctx, verify)
	must(err)
	verify.Message = []byte("other")
	_, err = client.VerifyMac(ctx, verify)
	refused[*types.KMSInvalidMacException](err, "another message has the same MAC")
	_, err = client.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: message})
	refused[*types.InvalidKeyUsageException](err, "a MAC key encrypts")
}

// somebody is a client with the credentials of a profile.
func somebody(ctx context.Context, profile string) *kms.Client {
	settings, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(profile))
	must(err)
	return kms.NewFromConfig(settings)
}

func grants(ctx context.Context, client *kms.Client, key *string) {
	guest := somebody(ctx, "guest")
	sealed, err := client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: key, Plaintext: message, EncryptionContext: map[string]string{"a": "1"}})
	must(err)
	open := &kms.DecryptInput{
		CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: map[string]string{"a": "1"}}
	_, err = guest.Decrypt(ctx, open)
	denied(err, "a guest opens it")
	grant, err := client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: key,
		GranteePrincipal: aws.String(os.Getenv("JOURNEY_GUEST_ARN")),
		Operations:       []types.GrantOperation{types.GrantOperationDecrypt}})
	must(err)
	open.GrantTokens = []string{*grant.GrantToken}
	opened, err := guest.Decrypt(ctx, open)
	must(err)
	check(bytes.Equal(opened.Plaintext, message), "a grant opens something else")
	open.GrantTokens = []string{"no token"}
	_, err = guest.Decrypt(ctx, open)
	refused[*types.InvalidGrantTokenException](err, "a wrong token is taken")
	_, err = client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: key, GrantId: grant.GrantId})
	must(err)
	open.GrantTokens = nil
	_, err = guest.Decrypt(ctx, open)
	denied(err, "a grant survives its end")
}

func sessions(ctx context.Context) {
	session := somebody(ctx, "session") // the SDK asks STS for it
	made, err := session.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(16)})
	must(err)
	check(len(made.Plaintext) == 16, "random bytes of another length")
	_, err = session.CreateKey(ctx, &kms.CreateKeyInput{})
	denied(err, "a session makes keys")
}

func pages(ctx context.Context, client *kms.Client) {
	seen := map[string]bool{}
	for pages := kms.NewListKeysPaginator(client, &kms.ListKeysInput{Limit: aws.Int32(2)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		must(err)
		for _, key := range page.Keys {
			check(!seen[*key.KeyId], "a key came twice")
			seen[*key.KeyId] = true
		}
	}
	check(len(seen) >= 3, "keys are missing")
}

func states(ctx context.Context, client *kms.Client, key *string) {
	encrypt := &kms.EncryptInput{KeyId: key, Plaintext: message}
	_, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key})
	must(err)
	_, err = client.Encrypt(ctx, encrypt)
	refused[*types.DisabledException](err, "a disabled key encrypts")
	_, err = client.EnableKey(ctx, &kms.EnableKeyInput{KeyId: key})
	must(err)
	_, err = client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{
		KeyId: key, PendingWindowInDays: aws.Int32(7)})
	must(err)
	_, err = client.Encrypt(ctx, encrypt)
	refused[*types.KMSInvalidStateException](err, "a key that waits for its end encrypts")
}
