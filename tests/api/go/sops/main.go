// The key service part of SOPS: its own package seals and opens the data key of a file.
//
//	sops ARN PROFILE      PROFILE may not use the key
//
// Configuration comes from the environment. Exit status 0: all as expected.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"

	"github.com/getsops/sops/v3/kms"
)

func check(good bool, what string, values ...any) {
	if !good {
		fmt.Println("failed:", what, values)
		os.Exit(1)
	}
}

func main() {
	arn, stranger := os.Args[1], os.Args[2]
	app, other := "payroll", "other"
	context := map[string]*string{"app": &app}
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey)

	key := kms.NewMasterKeyFromArn(arn, context, "")
	check(key.Encrypt(dataKey) == nil, "Encrypt", key.Encrypt(dataKey))
	sealed := key.EncryptedDataKey()
	open := func(context map[string]*string, profile string) ([]byte, error) {
		reader := kms.NewMasterKeyFromArn(arn, context, profile)
		reader.SetEncryptedDataKey(sealed)
		return reader.Decrypt()
	}
	opened, err := open(context, "")
	check(err == nil && bytes.Equal(opened, dataKey), "Decrypt", err)
	_, err = open(map[string]*string{"app": &other}, "")
	check(err != nil, "another context opens it")
	_, err = open(context, stranger)
	check(err != nil, "a stranger opens it")
	fmt.Println("SOPS: ok")
}
