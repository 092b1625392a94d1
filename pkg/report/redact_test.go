package report

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	const password = `p"ss wörd/+&`
	key := "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\nabc\n-----END KEY-----\n"
	var r Redactor
	assert.Equal(t, "nothing known", r.String("nothing known"))
	added := r.Add(password, key, "[a]*b\nc_d<!", "", "abc", "longer-AAAAB3NzaC1yc2E-x")
	quoted, err := json.Marshal(password)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"itself":        password,
		"base64":        base64.StdEncoding.EncodeToString([]byte(password)),
		"base64 line":   base64.StdEncoding.EncodeToString([]byte(password + "\n")),
		"query":         url.QueryEscape(password),
		"path":          url.PathEscape(password),
		"json":          string(quoted[1 : len(quoted)-1]),
		"markdown":      escape(password),
		"xml":           `p&#34;ss wörd/+&amp;`,
		"a line's":      escape("[a]*b"),
		"a line's xml":  "c_d&lt;!",
		"a line's json": `c_d\u003c!`,
		"a key's line":  "AAAAB3NzaC1yc2E",
		"the longest":   "longer-AAAAB3NzaC1yc2E-x",
	} {
		assert.Equal(t, "<***>", r.String("<"+text+">"), name)
	}
	assert.Equal(t, "abc -----BEGIN KEY-----", r.String("abc -----BEGIN KEY-----"), "too short, and no secret")
	assert.Empty(t, r.Add(password), "known already")
	for _, form := range added {
		assert.NotContains(t, form, "\n", "masks are made line by line")
	}
}

// A key that lost its lines on the way is a secret all the same, whole and in the lines
// it gets back; so is a secret whose tab was printed as a space.
func TestRedactorKnowsWhatWasMended(t *testing.T) {
	t.Parallel()
	for _, between := range []string{" ", `\n`, `\r\n`} {
		key := strings.Join([]string{"-----BEGIN OPENSSH PRIVATE KEY-----", "b3BlbnNzaC1rZXk", "AAAAB3NzaC1yc2E", "-----END OPENSSH PRIVATE KEY-----"}, between)
		var r Redactor
		r.Add(key)
		for _, text := range []string{key, "b3BlbnNzaC1rZXk\nAAAAB3NzaC1yc2E", "b3BlbnNzaC1rZXk", "AAAAB3NzaC1yc2E"} {
			assert.NotContains(t, r.String(text), "AAAAB3", "%q in %q", text, key)
			assert.NotContains(t, r.String(text), "b3Blbn", "%q in %q", text, key)
		}
		assert.Equal(t, "-----BEGIN OPENSSH PRIVATE KEY-----", r.String("-----BEGIN OPENSSH PRIVATE KEY-----"))
	}
	var r Redactor
	r.Add("s3cret\tvalue")
	assert.Equal(t, Hidden, r.String(clean("s3cret\tvalue")))
}

// A password of forty hexadecimal digits looks like a commit, of which a summary shows the
// first twelve.
func TestNoBeginningOfASecretThatLooksLikeACommit(t *testing.T) {
	t.Parallel()
	const password = "0123456789abcdef0123456789abcdef01234567"
	r := Release{Outcome: "failed", Error: "redis://x:" + password + "@cache refused *" + password, Hint: "is " + password + " right?"}
	var known Redactor
	known.Add(password, "token_"+"*"+password)
	assert.NotContains(t, known.String(r.Markdown()), "0123456789")
	assert.Equal(t, "a "+Hidden+" b", known.String("a "+escape(Brief("token_*"+password))+" b"))
}

// A JUnit file is read by others than the runner, which would mask it.
func TestNoSecretInJUnit(t *testing.T) {
	t.Parallel()
	const password = `p_ss"&<w>`
	v := &Verification{Project: "shop", Checks: &check.Report{Results: []check.Result{
		{Name: "login", Outcome: check.Fail, Found: "redis://:" + password + "@cache", Evidence: []check.Evidence{{Probe: "AUTH " + password}}}}}}
	data, err := v.JUnit()
	require.NoError(t, err)
	var r Redactor
	r.Add(password)
	text := r.String(string(data))
	assert.Equal(t, 2, strings.Count(text, Hidden), text)
	assert.NotContains(t, text, "p_ss")
}

func TestRedactingWriterHoldsHalfASecretBack(t *testing.T) {
	t.Parallel()
	var r Redactor
	var out strings.Builder
	w := r.Writer(&out)
	r.Add("s3cret-value")
	for _, piece := range []string{"a s3cret", "-value b\nand s3cret-va", "lue"} {
		n, err := w.Write([]byte(piece))
		require.NoError(t, err)
		assert.Len(t, piece, n)
		assert.NotContains(t, out.String(), "s3cret")
	}
	assert.Equal(t, "a *** b\n", out.String())
	require.NoError(t, w.Close())
	assert.Equal(t, "a *** b\nand ***", out.String())
}
