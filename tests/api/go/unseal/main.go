// The auto-unseal of Vault and OpenBao: their own package seals the root key of a Vault by a key of
// the service and opens it at each start. It is built on the AWS SDK for Go v1.
//
//	unseal ARN NO-SUCH-ARN
//
// Configuration comes from the environment, the endpoint by AWS_KMS_ENDPOINT. Exit status 0: all as
// expected.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/hashicorp/go-kms-wrapping/wrappers/awskms/v2"
)

func check(good bool, what string, values ...any) {
	if !good {
		fmt.Println("failed:", what, values)
		os.Exit(1)
	}
}

// What a Vault does when it starts: it describes the key.
func start(ctx context.Context, arn string) (*awskms.Wrapper, error) {
	wrapper := awskms.NewWrapper()
	_, err := wrapper.SetConfig(ctx, wrapping.WithConfigMap(map[string]string{"kms_key_id": arn}))
	return wrapper, err
}

func main() {
	ctx := context.Background()
	arn, nowhere := os.Args[1], os.Args[2]
	rootKey := make([]byte, 32)
	_, _ = rand.Read(rootKey)

	first, err := start(ctx, arn)
	check(err == nil, "start", err)
	sealed, err := first.Encrypt(ctx, rootKey)
	check(err == nil && sealed.KeyInfo.KeyId == arn, "seal", err)
	second, err := start(ctx, arn)
	check(err == nil, "second start", err)
	opened, err := second.Decrypt(ctx, sealed)
	check(err == nil && bytes.Equal(opened, rootKey), "unseal", err)

	sealed.KeyInfo.WrappedKey[len(sealed.KeyInfo.WrappedKey)-1] ^= 1
	_, err = second.Decrypt(ctx, sealed)
	check(err != nil, "a changed seal opens")
	_, err = start(ctx, nowhere)
	check(err != nil, "a key that does not exist seals")
	fmt.Println("go-kms-wrapping: ok")
}
