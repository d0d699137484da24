// A client of the KES door made of MinIO's own package, in the order in which MinIO calls it.
//
//	kes ADDRESS CA-FILE KEY-NAME IDENTITY <API-KEY
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/minio/kms-go/kes"
)

func check(good bool, what string, values ...any) {
	if !good {
		fmt.Println("failed:", what, values)
		os.Exit(1)
	}
}

func connect(address, ca string) *kes.Client {
	text, err := io.ReadAll(os.Stdin)
	check(err == nil, "standard input", err)
	key, err := kes.ParseAPIKey(strings.TrimSpace(string(text)))
	check(err == nil, "API key", err)
	check(key.Identity().String() == os.Args[4], "identity", key.Identity())
	certificate, err := kes.GenerateCertificate(key)
	check(err == nil, "certificate", err)
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca)
	check(err == nil && roots.AppendCertsFromPEM(pem), "CA", err)
	return kes.NewClientWithConfig("https://"+address, &tls.Config{
		Certificates: []tls.Certificate{certificate}, RootCAs: roots})
}

func start(ctx context.Context, client *kes.Client, name string) {
	_, err := client.GenerateKey(ctx, name, []byte("{}"))
	check(errors.Is(err, kes.ErrKeyNotFound), "generate without a key", err)
	check(client.CreateKey(ctx, name) == nil, "create")
	err = client.CreateKey(ctx, name)
	check(errors.Is(err, kes.ErrKeyExists), "create twice", err)
	mac, err := client.HMAC(ctx, name, []byte("root access key"))
	check(err == nil && len(mac) == 32, "hmac", err)
	again, err := client.HMAC(ctx, name, []byte("root access key"))
	check(err == nil && bytes.Equal(mac, again), "hmac again", err)
	info, err := client.DescribeKey(ctx, name)
	check(err == nil && info.Name == name && info.Algorithm == kes.AES256, "describe", info, err)
}

func serve(ctx context.Context, client *kes.Client, name string) {
	object := []byte(`{"bucket":"bucket/object"}`)
	made, err := client.GenerateKey(ctx, name, object)
	check(err == nil && len(made.Plaintext) == 32, "generate", err)
	plain, err := client.Decrypt(ctx, name, made.Ciphertext, object)
	check(err == nil && bytes.Equal(plain, made.Plaintext), "decrypt", err)
	_, err = client.Decrypt(ctx, name, made.Ciphertext, []byte(`{"bucket":"bucket/other"}`))
	check(errors.Is(err, kes.ErrDecrypt), "decrypt with another context", err)
	made.Ciphertext[len(made.Ciphertext)-1] ^= 1
	_, err = client.Decrypt(ctx, name, made.Ciphertext, object)
	check(errors.Is(err, kes.ErrDecrypt), "decrypt what was changed", err)
	sealed, err := client.Encrypt(ctx, name, []byte("text"), nil)
	check(err == nil, "encrypt", err)
	plain, err = client.Decrypt(ctx, name, sealed, nil)
	check(err == nil && string(plain) == "text", "decrypt what was encrypted", err)
}

func administer(ctx context.Context, client *kes.Client, name string) {
	version, err := client.Version(ctx)
	check(err == nil && version != "", "version", err)
	_, err = client.IsReady(ctx)
	check(err == nil, "ready", err)
	state, err := client.Status(ctx)
	check(err == nil && state.KeyStoreReachable && state.KeystoreAvailable, "status", state, err)
	metric, err := client.Metrics(ctx)
	check(err == nil && metric.RequestOK > 0 && metric.RequestErr > 0, "metrics", metric, err)
	routes, err := client.APIs(ctx)
	check(err == nil && len(routes) > 10, "api", routes, err)
	self, _, err := client.DescribeSelf(ctx)
	check(err == nil && self.Identity.String() == os.Args[4] && !self.IsAdmin, "self", self, err)
	names := kes.ListIter[string]{NextFunc: client.ListKeys}
	found, err := names.SeekTo(ctx, name)
	check(err == nil && found == name, "list", found, err)
}

func main() {
	ctx, name := context.Background(), os.Args[3]
	client := connect(os.Args[1], os.Args[2])
	start(ctx, client, name)
	serve(ctx, client, name)
	administer(ctx, client, name)
	check(client.DeleteKey(ctx, name) == nil, "delete")
	_, err := client.DescribeKey(ctx, name)
	check(errors.Is(err, kes.ErrKeyNotFound), "describe what was deleted", err)
	fmt.Println("all good")
}
