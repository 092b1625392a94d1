package host

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// trust is what one server must prove to be.
type trust struct {
	address address
	entries []entry
	revoked map[string]bool
	prints  []string
	// rounds are the lists of host key algorithms to ask for, one connection
	// each. A fingerprint does not say of which type its key is, and a server
	// shows only one of its keys at a time: hence more than one.
	rounds [][]string
}

func (k *knownHosts) trust(a address, prints []string) (*trust, error) {
	t := &trust{address: a, entries: k.matching(a), revoked: k.revoked, prints: prints}
	switch {
	case len(t.entries) > 0:
		t.rounds = [][]string{t.recorded()}
	case len(prints) > 0:
		t.rounds = fingerprintRounds
	case len(k.entries) == 0 && len(k.revoked) == 0 && k.skipped == 0:
		return nil, fault.New(fault.Input, "known-hosts", keyscanHint(keyscanArgs(a)),
			"is missing (and so is host-fingerprint): the host key of %s would have to be trusted unseen", a.network())
	default:
		return nil, fault.New(fault.Input, "known-hosts", keyscanHint(keyscanArgs(a)),
			"has no entry for %s; it has %s", a.known(), k.summary())
	}
	return t, nil
}

// summary tells what is recorded, for somebody who looks for a typing error.
func (k *knownHosts) summary() string {
	var names []string
	hashed := 0
	for _, e := range k.entries {
		for _, name := range e.names {
			if strings.HasPrefix(name, "|") {
				hashed++
			} else if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 5 {
		names = append(names[:5], "...")
	}
	if hashed > 0 {
		names = append(names, fmt.Sprintf("%d hashed names", hashed))
	}
	if k.skipped > 0 {
		names = append(names, fmt.Sprintf("%d keys of unknown types", k.skipped))
	}
	if len(names) == 0 {
		return "revoked keys only"
	}
	return strings.Join(names, ", ")
}

func keyscanArgs(a address) string {
	if a.port == sshPort {
		return a.host
	}
	return "-p " + a.port + " " + a.host
}

func keyscanHint(args string) string {
	return "run `ssh-keyscan " + args + "` on a machine and network you trust, compare with `ssh-keygen -lf " +
		"/etc/ssh/ssh_host_ed25519_key.pub` on the host itself, and give the output as known-hosts (on the command line, add it to ~/.ssh/known_hosts)"
}

// The algorithms by which a server can prove a key of each type. SHA-1 (ssh-rsa
// as a signature) and DSA are not among them.
var (
	plainAlgorithms = map[string][]string{
		ssh.KeyAlgoED25519:  {ssh.KeyAlgoED25519},
		ssh.KeyAlgoECDSA256: {ssh.KeyAlgoECDSA256},
		ssh.KeyAlgoECDSA384: {ssh.KeyAlgoECDSA384},
		ssh.KeyAlgoECDSA521: {ssh.KeyAlgoECDSA521},
		ssh.KeyAlgoRSA:      {ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	}
	// An authority may sign host keys of any type.
	certificateAlgorithms = []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
	fingerprintRounds = [][]string{
		{ssh.KeyAlgoED25519}, {ssh.KeyAlgoECDSA256}, {ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
		{ssh.KeyAlgoECDSA384}, {ssh.KeyAlgoECDSA521},
	}
)

// recorded are the algorithms for the types on record, so that a server with
// several keys shows the one that can be compared.
func (t *trust) recorded() []string {
	var algorithms []string
	if slices.ContainsFunc(t.entries, func(e entry) bool { return e.authority }) {
		algorithms = append(algorithms, certificateAlgorithms...)
	}
	for _, keyType := range verifiable {
		if slices.ContainsFunc(t.entries, func(e entry) bool { return !e.authority && e.key.Type() == keyType }) {
			algorithms = append(algorithms, plainAlgorithms[keyType]...)
		}
	}
	return algorithms
}

// prefer makes the algorithms that led to the pinned key the only ones to ask
// for when the connection is made again.
func (t *trust) prefer(round []string) { t.rounds = [][]string{round} }

// check is an ssh.HostKeyCallback. It runs before authentication.
func (t *trust) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	plain := key
	certificate, signed := key.(*ssh.Certificate)
	if signed {
		plain = certificate.Key
	}
	if t.revoked[string(plain.Marshal())] || (signed && t.revoked[string(certificate.SignatureKey.Marshal())]) {
		return fault.New(fault.Input, "known-hosts", changedHint,
			"the key that %s shows, %s, is marked @revoked", t.address.network(), describe(plain))
	}
	switch {
	case signed && t.records(certificate.SignatureKey, true):
		if err := t.checkCertificate(remote, certificate); err != nil {
			return err
		}
	case len(t.entries) > 0 && !t.records(plain, false):
		return t.mismatch("known-hosts", key)
	}
	if len(t.prints) > 0 && !slices.Contains(t.prints, ssh.FingerprintSHA256(plain)) {
		return t.mismatch("host-fingerprint", key)
	}
	return nil
}

// records tells whether there is an entry with this key, or authority.
func (t *trust) records(key ssh.PublicKey, authority bool) bool {
	return slices.ContainsFunc(t.entries, func(e entry) bool {
		return e.authority == authority && string(e.key.Marshal()) == string(key.Marshal())
	})
}

func (t *trust) checkCertificate(remote net.Addr, certificate *ssh.Certificate) error {
	checker := ssh.CertChecker{IsHostAuthority: func(ssh.PublicKey, string) bool { return true }}
	if err := checker.CheckHostKey(t.address.network(), remote, certificate); err != nil {
		return fault.New(fault.Input, "known-hosts", "have the host's certificate renewed (ssh-keygen -h -s, with -n "+t.address.host+")",
			"the certificate of %s is signed by the recorded authority but not valid: %w", t.address.network(), err)
	}
	return nil
}

const changedHint = "if the host was set up again, read its key on its own console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) " +
	"and store the new one; if not, somebody may be answering in its place"

// mismatch is the error for a server that shows another key than the pinned one;
// key is what it showed and where the input that pins.
func (t *trust) mismatch(where string, key ssh.PublicKey) error {
	want := strings.Join(t.prints, " or ")
	if where == "known-hosts" {
		want = t.wanted()
	}
	return fault.New(fault.Input, where, changedHint, "the host key of %s is not the recorded one: it shows %s, recorded is %s",
		t.address.network(), describe(key), want)
}

// wanted lists the pinned keys.
func (t *trust) wanted() string {
	if len(t.entries) == 0 {
		return strings.Join(t.prints, " or ")
	}
	var want []string
	for _, e := range t.entries {
		role := ""
		if e.authority {
			role = "a certificate by "
		}
		want = append(want, fmt.Sprintf("%s%s on line %d", role, describe(e.key), e.line))
	}
	return strings.Join(want, " or ")
}

// describe gives a key as ssh-keygen -l does. A certificate is told by the key
// it certifies and by who signed it.
func describe(key ssh.PublicKey) string {
	if certificate, ok := key.(*ssh.Certificate); ok {
		return fmt.Sprintf("%s (%s, signed by %s)", ssh.FingerprintSHA256(certificate.Key), certificate.Key.Type(),
			ssh.FingerprintSHA256(certificate.SignatureKey))
	}
	return fmt.Sprintf("%s (%s)", ssh.FingerprintSHA256(key), key.Type())
}

var sha256Print = regexp.MustCompile(`(?:^|\s)(?:SHA256:)([A-Za-z0-9+/]{43})=?(?:\s|$)`)

// parseFingerprints takes SHA256:..., alone or within lines of `ssh-keygen -l`.
func parseFingerprints(text string) ([]string, error) {
	var prints []string
	for _, line := range strings.Split(unfold(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		found := sha256Print.FindStringSubmatch(line)
		if found == nil {
			return nil, fault.New(fault.Input, "host-fingerprint",
				"give SHA256:... as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it on the host", "%w", explainPrint(line))
		}
		prints = append(prints, "SHA256:"+found[1])
	}
	return prints, nil
}

func explainPrint(line string) error {
	if strings.Contains(line, "MD5:") || strings.Count(line, ":") == 15 {
		return errors.New("is an MD5 fingerprint, which proves nothing any more")
	}
	if keyType.MatchString(strings.Fields(line)[0]) {
		return errors.New("is a whole public key; put it into known-hosts, with the host's name in front")
	}
	return fmt.Errorf("%q is not a SHA256 fingerprint (43 letters and digits after SHA256:)", line)
}
