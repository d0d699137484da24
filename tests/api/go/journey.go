// The main job with the AWS SDK for Go v2. Configuration comes from the environment, as rig.sh
// exports it, people from profiles, as test_sdk_journeys.py makes them. Exit status 0: all as expected.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func check(good bool, what string) {
	if !good {
		must(errors.New(what))
	}
}

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	must(err)
	client := kms.NewFromConfig(settings, func(o *kms.Options) {
		o.BaseEndpoint = aws.String(os.Getenv("AWS_ENDPOINT_URL_KMS"))
	})

	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String("go ü")})
	must(err)
	key := made.KeyMetadata
	check(key.KeyState == types.KeyStateEnabled, "a new key is not enabled")
	forwards := map[string]string{"zeta": "1", "alpha": "é", "aws:s3:arn": "arn:aws:s3:::b/k"}
	data, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: key.KeyId, KeySpec: types.DataKeySpecAes256, EncryptionContext: forwards})
	must(err)
	open := func(context map[string]string) ([]byte, error) {
		opened, err := client.Decrypt(ctx, &kms.DecryptInput{
			CiphertextBlob: data.CiphertextBlob, EncryptionContext: context})
		if err != nil {
			return nil, err
		}
		return opened.Plaintext, nil
	}
	plain, err := open(forwards)
	must(err)
	check(len(plain) == 32 && bytes.Equal(plain, data.Plaintext), "another data key came back")
	_, err = client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
	must(err)
	plain, err = open(forwards)
	must(err)
	check(bytes.Equal(plain, data.Plaintext), "another data key came back after the rotation")

	_, err = open(nil)
	var badCiphertext *types.InvalidCiphertextException
	check(errors.As(err, &badCiphertext), "a wrong context is not InvalidCiphertextException")
	_, err = client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/none")})
	var notFound *types.NotFoundException
	check(errors.As(err, &notFound), "an unknown alias is not NotFoundException")
	moves(ctx, client, key.KeyId)
	signatures(ctx, client)
	macs(ctx, client)
	grants(ctx, client, key.KeyId)
	sessions(ctx)
	pages(ctx, client)
	states(ctx, client, key.KeyId)
	fmt.Println("aws-sdk-go-v2/service/kms: ok")
}
