package scrub_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/scrub"
)

func TestNoFormOfASecretSurvives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[ -~]{8,40}`).Draw(t, "secret")
		before := rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "before")
		after := rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "after")
		s := scrub.New(secret)
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			require.NotContains(t, s.String("x "+form+" y"), form)
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			out := s.String("x " + encoding.EncodeToString([]byte(before+secret+after)) + " y")
			require.Contains(t, out, "[redacted]")
		}
	})
}

func TestURLsLoseCredentialsAndQueries(t *testing.T) {
	t.Parallel()
	s := scrub.New()
	out := s.String(`cannot parse "postgres://user:p@ss/w@rd@db:5432/x?sslmode=off": and https://b.example/k?X-Amz-Signature=abc then`)
	for _, part := range []string{"user", "p@ss", "rd@", "sslmode", "abc"} {
		require.NotContains(t, out, part)
	}
	require.Contains(t, out, "db:5432/x")
	require.Contains(t, out, "b.example/k?[redacted] then")
	require.Equal(t, "nothing here", (*scrub.Scrubber)(nil).String("nothing here"))
}

func TestURLErrorsLoseTheirURL(t *testing.T) {
	t.Parallel()
	bad := fmt.Sprintf("postgres://u:canary%c@h/db", 0x7f)
	_, err := url.Parse(bad)
	require.Error(t, err)
	require.NotContains(t, scrub.New().Error(fmt.Errorf("open: %w", err)).Error(), "canary")

	_, err = http.Get("http://127.0.0.1:1/x?sig=canary")
	require.Error(t, err)
	require.NotContains(t, scrub.New().Error(err).Error(), "canary")
}

type described struct{ secret string }

func (d described) Error() string { return "text with " + d.secret }
func (d described) Fault() (uint32, string, string, string, string, map[string]string) {
	return 5, "GONE", "no " + d.secret, "", "", map[string]string{"k": d.secret}
}

func TestCodedErrorsStayCoded(t *testing.T) {
	t.Parallel()
	s := scrub.New("hunter22")
	e := fault.From(s.Error(fmt.Errorf("a: %w", described{"hunter22"})))
	require.Equal(t, "GONE", e.Reason)
	require.NotContains(t, fmt.Sprint(e, e.Meta, e.Cause), "hunter22")

	e = fault.From(s.Error(fault.New(codes.NotFound, "X", "hunter22").WithMeta("k", "hunter22").WithCause(errors.New("hunter22"))))
	require.Equal(t, "X", e.Reason)
	require.NotContains(t, fmt.Sprint(e, e.Meta, e.Cause), "hunter22")

	clean := s.Error(fmt.Errorf("hunter22: %w", io.ErrUnexpectedEOF))
	require.ErrorIs(t, clean, io.ErrUnexpectedEOF)
	require.NotContains(t, clean.Error(), "hunter22")
	require.NoError(t, s.Error(nil))
}

func TestLongestSecretWinsAndKeyLinesAreSecrets(t *testing.T) {
	t.Parallel()
	require.Equal(t, "[redacted]", scrub.New("abc", "abcdef").String("abcdef"))
	key := "-----BEGIN KEY-----\n" + strings.Repeat("a", 20) + "\n-----END KEY-----\n"
	require.NotContains(t, scrub.New(key).String("bad line "+strings.Repeat("a", 20)), "aaaa")
}
