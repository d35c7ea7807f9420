package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/credentials"
)

// Between tries of one push, where the receiver says that it may be tried again.
const (
	firstWait = 500 * time.Millisecond
	mostWait  = 5 * time.Second
)

// Config says where to push, and how.
type Config struct {
	URL     string // http:// or https://
	GRPC    bool   // else HTTP with protobuf
	Headers map[string]string
	Gzip    bool
	// CA, Cert and Key are PEM files, "" for none.
	CA, Cert, Key string

	Try, Push time.Duration // limits of one try, and of all tries of a push
	Every     time.Duration
	// Exponential histograms, else such with explicit buckets.
	Exponential bool
	Resource    map[string]string
}

// exporter is OpenTelemetry's.
type exporter interface {
	Export(context.Context, *metricdata.ResourceMetrics) error
	Shutdown(context.Context) error
}

func newExporter(c Config) (exporter, error) {
	secure, err := c.tls()
	if err != nil {
		return nil, err
	}
	if c.GRPC {
		return newGRPC(c, secure)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	options := []otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpointURL(c.URL), otlpmetrichttp.WithHeaders(c.Headers),
		otlpmetrichttp.WithHTTPClient(&http.Client{Transport: transport, Timeout: c.Try, CheckRedirect: refuseRedirect}),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: true, InitialInterval: firstWait, MaxInterval: mostWait, MaxElapsedTime: c.Push}),
		otlpmetrichttp.WithCompression(otlpmetrichttp.NoCompression),
	}
	if c.Gzip {
		options = append(options, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	}
	made, err := otlpmetrichttp.New(context.Background(), options...)
	if err != nil {
		return nil, err
	}
	return closing{made, transport.CloseIdleConnections}, nil
}

// refuseRedirect: a redirected POST would arrive as a GET without a body, and
// with the headers, which may hold a secret.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func newGRPC(c Config, secure *tls.Config) (exporter, error) {
	options := []otlpmetricgrpc.Option{
		otlpmetricgrpc.WithEndpointURL(c.URL), otlpmetricgrpc.WithHeaders(c.Headers), otlpmetricgrpc.WithTimeout(c.Try),
		otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{Enabled: true, InitialInterval: firstWait, MaxInterval: mostWait, MaxElapsedTime: c.Push}),
	}
	if secure != nil {
		options = append(options, otlpmetricgrpc.WithTLSCredentials(credentials.NewTLS(secure)))
	}
	if c.Gzip {
		options = append(options, otlpmetricgrpc.WithCompressor("gzip"))
	}
	return otlpmetricgrpc.New(context.Background(), options...)
}

// closing also ends the connections that an exporter leaves open.
type closing struct {
	exporter
	end func()
}

func (c closing) Shutdown(ctx context.Context) error {
	defer c.end()
	return c.exporter.Shutdown(ctx)
}

// tls is what the files say, nil for what is usual on the machine.
func (c Config) tls() (*tls.Config, error) {
	if c.CA == "" && c.Cert == "" {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE %s: no certificate in it (accepted: PEM)", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE %s: it and its key are no pair in PEM: %w", c.Cert, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
