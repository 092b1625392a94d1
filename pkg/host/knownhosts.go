package host

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// knownHosts is a known_hosts file, read.
type knownHosts struct {
	entries []entry
	revoked map[string]bool
	// skipped counts lines whose key has a type this program cannot verify.
	skipped int
}

// entry pins a key, or an authority that signs keys, for some names.
type entry struct {
	line      int
	authority bool
	names     []string
	key       ssh.PublicKey
}

func parseKnownHosts(content []byte) (*knownHosts, error) {
	known := &knownHosts{revoked: map[string]bool{}}
	for i, line := range strings.Split(unfold(string(content)), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := known.add(i+1, line); err != nil {
			return nil, fault.New(fault.Input, "known-hosts", keyscanHint("host"), "line %d: %w", i+1, err)
		}
	}
	return known, nil
}

func (k *knownHosts) add(number int, line string) error {
	marker, names, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil {
		return k.explain(line, err)
	}
	switch marker {
	case "revoked":
		k.revoked[string(key.Marshal())] = true
	case "", "cert-authority":
		k.entries = append(k.entries, entry{number, marker != "", names, key})
	default:
		return errors.New("unknown marker @" + marker)
	}
	return nil
}

var keyType = regexp.MustCompile(`^(ssh|ecdsa|sk-ssh|sk-ecdsa|rsa)-[a-z0-9@.-]+$`)

// explain tells the usual slips from a line that is merely about a kind of key
// we do not know, which OpenSSH passes over as well.
func (k *knownHosts) explain(line string, err error) error {
	words := strings.Fields(line)
	switch {
	case strings.HasPrefix(line, "-----BEGIN"):
		return errors.New("this is a key in a file of its own, not the content of a known_hosts file")
	case strings.Contains(line, "SHA256:"):
		return errors.New("this is a fingerprint; it belongs into host-fingerprint")
	case len(words) == 1:
		return errors.New("one word is not a line of a known_hosts file; on the command line a file is named with @: --known-hosts=@FILE")
	case keyType.MatchString(words[0]):
		return errors.New("the name of the host is missing in front of the key")
	}
	if words[0][0] == '@' {
		words = words[1:]
	}
	if len(words) >= 3 && keyType.MatchString(words[1]) {
		blob, decodeErr := base64.StdEncoding.DecodeString(words[2])
		if decodeErr == nil && knownFormat(blob, words[1]) && !slices.Contains(verifiable, words[1]) {
			k.skipped++
			return nil
		}
	}
	return errors.New("not a line of a known_hosts file (cut off?): " + strings.TrimPrefix(err.Error(), "ssh: "))
}

// verifiable are the key types that a host can prove itself with here.
var verifiable = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// knownFormat tells whether a key blob says it is of the given type.
func knownFormat(blob []byte, name string) bool {
	return len(blob) > 4+len(name) && string(blob[4:4+len(name)]) == name
}

// matching gives the entries for a server. A key recorded for the bare name also
// counts for another port when nothing is recorded for that port, as in OpenSSH.
func (k *knownHosts) matching(a address) []entry {
	found := k.named(a.known())
	if len(found) == 0 && a.port != sshPort {
		found = k.named(strings.ToLower(a.host))
	}
	return found
}

func (k *knownHosts) named(name string) []entry {
	var found []entry
	for _, e := range k.entries {
		if slices.Contains(verifiable, e.key.Type()) && matchNames(e.names, name) {
			found = append(found, e)
		}
	}
	return found
}

// matchNames applies a line's list of names: one must match and no negated one may.
func matchNames(patterns []string, name string) bool {
	matched := false
	for _, pattern := range patterns {
		negated := strings.HasPrefix(pattern, "!")
		pattern = strings.TrimPrefix(pattern, "!")
		if !matchName(pattern, name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

func matchName(pattern, name string) bool {
	if strings.HasPrefix(pattern, "|") {
		return matchHashed(pattern, name)
	}
	// Some write [host]:22, which OpenSSH itself never does.
	if plain, ok := strings.CutSuffix(pattern, "]:"+sshPort); ok {
		pattern = strings.TrimPrefix(plain, "[")
	}
	return matchWild(strings.ToLower(pattern), name)
}

// matchHashed compares with |1|salt|HMAC-SHA1(salt, name).
func matchHashed(pattern, name string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, saltErr := base64.StdEncoding.DecodeString(parts[2])
	want, wantErr := base64.StdEncoding.DecodeString(parts[3])
	if saltErr != nil || wantErr != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return bytes.Equal(mac.Sum(nil), want)
}

// matchWild knows * and ? only: brackets are part of a name here.
func matchWild(pattern, name string) bool {
	for pattern != "" {
		if pattern[0] == '*' {
			for cut := 0; cut <= len(name); cut++ {
				if matchWild(pattern[1:], name[cut:]) {
					return true
				}
			}
			return false
		}
		if name == "" || (pattern[0] != '?' && pattern[0] != name[0]) {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return name == ""
}

// unfold undoes what copying through forms, YAML and environment variables does
// to a file: CRLF line ends, and line ends written as backslash and n.
func unfold(text string) string {
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	if !strings.Contains(strings.TrimSpace(text), "\n") {
		text = strings.ReplaceAll(text, `\r\n`, "\n")
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	return text
}
