// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"enarx.dev/enarx/internal/need"
)

// The keys of every S3 server that a test starts on loopback.
const (
	s3Access = "keeper"
	s3Secret = "not-a-secret-of-anybody"
)

// An s3Server is one that runs until the test ends.
type s3Server struct{ endpoint string }

// s3Servers are the two independent servers that the store is tested on.
var s3Servers = map[string]func(testing.TB) *s3Server{
	"gofakes3":  startFakeS3,
	"versitygw": startVersity,
}

func startFakeS3(t testing.TB) *s3Server {
	t.Helper()
	backend := s3mem.New()
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return &s3Server{server.URL}
}

func startVersity(t testing.TB) *s3Server {
	t.Helper()
	program := need.Server(t, "versitygw")
	address := freeAddress(t)
	dir := fastDir(t)
	for _, sub := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--quiet", "--port", address, "--access", s3Access, "--secret", s3Secret,
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("versitygw:\n%s", text)
		}
	})
	s := &s3Server{"http://" + address}
	for deadline := time.Now().Add(10 * time.Second); ; {
		response, err := http.Get(s.endpoint)
		if err == nil {
			response.Body.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// client speaks to the server with keys of its own, as one replica would.
func (s *s3Server) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.endpoint),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(s3Access, s3Secret, ""),
	})
}

// bucket makes the bucket where it is missing and opens it.
func (s *s3Server) bucket(t testing.TB, name string) *blob.Bucket {
	t.Helper()
	ctx, client := context.Background(), s.client()
	if _, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name}); err != nil {
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
			t.Fatalf("creating bucket %s: %v", name, err)
		}
	}
	b, err := s3blob.OpenBucket(ctx, client, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// env are the variables under which an s3:// URL opens this server.
func (s *s3Server) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s3Access, "AWS_SECRET_ACCESS_KEY=" + s3Secret, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
}

// url names a bucket of this server for OpenURL.
func (s *s3Server) url(bucket string) string {
	return fmt.Sprintf("s3://%s?endpoint=%s&use_path_style=true&region=us-east-1", bucket, s.endpoint)
}
