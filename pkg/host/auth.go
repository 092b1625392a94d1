package host

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/shiksha/actions/pkg/fault"
)

// login is how the user proves to be allowed.
type login struct {
	signers []ssh.Signer
	agent   string
}

func newLogin(c Config) (login, error) {
	l := login{agent: c.AgentSocket}
	if len(bytes.TrimSpace(c.Key)) == 0 {
		if l.agent == "" {
			return l, fault.New(fault.Input, "ssh-key", "give the private key whose public half is in authorized_keys on the host, "+
				"as --ssh-key=@FILE or to your ssh-agent with `ssh-add FILE`", "is missing, and no ssh-agent runs")
		}
		return l, nil
	}
	signer, err := parseKey(c.Key, c.Passphrase)
	if err != nil {
		return l, err
	}
	l.signers = []ssh.Signer{signer}
	if len(bytes.TrimSpace(c.Certificate)) == 0 {
		return l, nil
	}
	signed, err := certify(signer, c.Certificate)
	if err != nil {
		return l, err
	}
	// The bare key stays as a second offer, as with OpenSSH's own client.
	l.signers = []ssh.Signer{signed, signer}
	return l, nil
}

func parseKey(text, passphrase []byte) (ssh.Signer, error) {
	const example = "paste the whole private key, from -----BEGIN to -----END, as in ~/.ssh/id_ed25519"
	mended, err := mendKey(string(text))
	if err != nil {
		return nil, fault.New(fault.Input, "ssh-key", example, "%w", err)
	}
	raw, err := ssh.ParseRawPrivateKey(mended)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		raw, err = unlock(mended, passphrase)
	}
	if err != nil {
		var known *fault.Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, fault.New(fault.Input, "ssh-key", example, "cannot be read (cut off, or characters lost?): %w", err)
	}
	signer, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		return nil, fault.New(fault.Input, "ssh-key", "make a new one with `ssh-keygen -t ed25519`", "is of a kind that cannot be used: %w", err)
	}
	return signer, nil
}

// unlock decrypts a key. Secrets often get a line end by accident, so a
// passphrase is tried without it too.
func unlock(key, passphrase []byte) (any, error) {
	if len(passphrase) == 0 {
		return nil, fault.New(fault.Input, "ssh-key-passphrase", "give the passphrase, or take it off a copy of the key with `ssh-keygen -p`",
			"is missing: ssh-key is encrypted")
	}
	for _, attempt := range [][]byte{passphrase, bytes.TrimRight(passphrase, "\r\n")} {
		if raw, err := ssh.ParseRawPrivateKeyWithPassphrase(key, attempt); err == nil {
			return raw, nil
		}
	}
	return nil, fault.New(fault.Input, "ssh-key-passphrase", "try it with `ssh-keygen -y -f KEYFILE` where the key is kept",
		"does not open ssh-key")
}

var pemFrame = regexp.MustCompile(`(?s)(-----BEGIN [A-Z0-9 ]+-----)(.*?)(-----END [A-Z0-9 ]+-----)`)

// mendKey gives a pasted private key its lines back and names what was pasted
// when it is no private key at all.
func mendKey(text string) ([]byte, error) {
	text = strings.TrimSpace(unfold(text))
	frame := pemFrame.FindStringSubmatch(text)
	first, _, _ := strings.Cut(text, " ")
	switch {
	case keyType.MatchString(first):
		return nil, errors.New("is a public key; the private one is needed (the file without .pub)")
	case strings.HasPrefix(text, "PuTTY-User-Key-File"):
		return nil, errors.New("is a PuTTY key; convert it with `puttygen KEY.ppk -O private-openssh`")
	case frame == nil && strings.Contains(text, "-----BEGIN"):
		return nil, errors.New("is cut off: there is no -----END line")
	case frame == nil:
		return nil, errors.New("is not a private key")
	case strings.Contains(frame[1], "PUBLIC KEY"):
		return nil, errors.New("is a public key; the private one is needed (the file without .pub)")
	case strings.Contains(frame[1], "CERTIFICATE"):
		return nil, errors.New("is a TLS certificate, not an SSH key")
	case strings.Contains(frame[1], "ENCRYPTED PRIVATE KEY"):
		return nil, errors.New("is in PKCS#8 encryption, which cannot be read; rewrite a copy with `ssh-keygen -p -f KEYFILE`")
	}
	return []byte(frame[1] + "\n" + mendBody(frame[2]) + frame[3] + "\n"), nil
}

// mendBody breaks base64 that lost its lines (or got indented) into lines; the
// headers of an old encrypted PEM stay in front, with their empty line.
func mendBody(body string) string {
	if !strings.Contains(body, ":") {
		return strings.Join(strings.Fields(body), "\n") + "\n"
	}
	var headers, data []string
	for _, line := range strings.Split(body, "\n") {
		line = strings.TrimSpace(line)
		if strings.Contains(line, ":") {
			headers = append(headers, line)
		} else if line != "" {
			data = append(data, line)
		}
	}
	return strings.Join(headers, "\n") + "\n\n" + strings.Join(data, "\n") + "\n"
}

func certify(signer ssh.Signer, line []byte) (ssh.Signer, error) {
	const hint = "put the line of a -cert.pub file that is valid and of this key behind it in ssh-key"
	bad := func(format string, args ...any) (ssh.Signer, error) {
		return nil, fault.New(fault.Input, "ssh-key", hint, "its certificate "+format, args...)
	}
	if block, _ := pem.Decode(line); block != nil {
		return bad("is a %s, not an OpenSSH certificate", strings.ToLower(block.Type))
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(unfold(string(line)))))
	if err != nil {
		return bad("cannot be read: %w", err)
	}
	certificate, ok := key.(*ssh.Certificate)
	if !ok {
		return bad("is a plain public key")
	}
	if certificate.CertType != ssh.UserCert {
		return bad("is a host certificate; a user certificate is needed")
	}
	if now := uint64(time.Now().Unix()); now >= certificate.ValidBefore {
		return bad("ran out at %s", time.Unix(int64(certificate.ValidBefore), 0).UTC().Format(time.RFC3339))
	} else if now < certificate.ValidAfter {
		return bad("is not valid before %s", time.Unix(int64(certificate.ValidAfter), 0).UTC().Format(time.RFC3339))
	}
	signed, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		return bad("is for %s, not for ssh-key (%s)", ssh.FingerprintSHA256(certificate.Key), ssh.FingerprintSHA256(signer.PublicKey()))
	}
	return signed, nil
}

// offer is one login: the keys that may be used, and what became of it.
type offer struct {
	signers []ssh.Signer
	methods []string
	started bool
	agent   net.Conn
	// free ends the watch over the agent.
	free func() bool
}

// offer collects the keys, the agent's included; done lets go of the agent.
func (l login) offer(ctx context.Context) (*offer, error) {
	o := &offer{signers: l.signers}
	if l.agent == "" {
		return o, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", l.agent)
	if err == nil {
		// An agent that hangs, or asks a person who is not there, knows no ctx: the end
		// of the time closes it, while it signs too.
		o.free = context.AfterFunc(ctx, func() { _ = conn.Close() })
		var keys []ssh.Signer
		if keys, err = agent.NewClient(conn).Signers(); err == nil {
			o.agent, o.signers = conn, append(o.signers[:len(o.signers):len(o.signers)], keys...)
		} else {
			_ = conn.Close()
		}
	}
	if len(o.signers) > 0 {
		return o, nil
	}
	o.done()
	if err != nil {
		return nil, fault.New(fault.Input, "ssh-key", "start an agent, or give the key itself", "the ssh-agent does not answer: %w", err)
	}
	return nil, fault.New(fault.Input, "ssh-key", "add one with `ssh-add`, or give the key itself", "the ssh-agent holds no key")
}

func (o *offer) done() {
	if o.free != nil {
		o.free()
	}
	if o.agent != nil {
		_ = o.agent.Close()
	}
}

func (o *offer) apply(c *ssh.ClientConfig) {
	c.Auth = []ssh.AuthMethod{ssh.PublicKeys(o.signers...)}
	c.AuthCallback = func(state *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		o.started, o.methods = true, state.AllowedMethods
		return nil, nil
	}
}

// refused is the error for a server that let none of the keys in.
func (o *offer) refused(a address, err error) error {
	keys := make([]string, 0, len(o.signers))
	for _, signer := range o.signers {
		keys = append(keys, describe(signer.PublicKey()))
	}
	offered := "nothing else"
	if len(o.methods) > 0 {
		offered = strings.Join(o.methods, ", ")
	}
	return fault.New(fault.Input, "ssh-key",
		fmt.Sprintf("put the public key into ~%s/.ssh/authorized_keys on %s (mode 0600, owned by %s), or mend the user in the address", a.user, a.host, a.user),
		"%s refused user %s with %s; the server takes: %s (%w)", a.network(), a.user, strings.Join(keys, " and "), offered, err)
}
