package inputs

import (
	"os"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
)

// Connection is the inputs of every verb that speaks to a host. It is embedded
// in the inputs of a verb.
type Connection struct {
	Host             string  `name:"host" group:"connection" placeholder:"USER@HOST" example:"deploy@gpu1.example.org" help:"Where the stack runs: user@host or user@host:port. Required, except for the plan of a deploy, which is then made for an empty host. The user must be allowed to use Docker there (which makes it as powerful as root)."`
	SSHKey           Secret  `name:"ssh-key" group:"connection" placeholder:"@FILE" example:"${{ secrets.SSH_KEY }}" help:"Private key to log in with, in OpenSSH or PEM form. The line of its OpenSSH certificate may follow. On the command line your ssh-agent works too."`
	SSHKeyPassphrase Secret  `name:"ssh-key-passphrase" group:"connection" placeholder:"@FILE" help:"Passphrase of the private key."`
	KnownHosts       Content `name:"known-hosts" group:"connection" placeholder:"@FILE" example:"${{ vars.KNOWN_HOSTS }}" help:"Lines of a known_hosts file that pin the host (and the jump host). Make them once with ssh-keyscan and compare the fingerprint with the one on the host; nothing is trusted on first use. On the command line ~/.ssh/known_hosts works too."`
	HostFingerprint  string  `name:"host-fingerprint" group:"connection" placeholder:"SHA256:..." help:"Fingerprint of the host's key instead of known-hosts, as ssh-keygen -lf prints it."`
	JumpHost         string  `name:"jump-host" group:"connection" placeholder:"[USER@]HOST" help:"Host to go through, pinned by the same known-hosts and entered with the same key."`
}

const hostExample = "deploy@gpu1.example.org"

// Check tells what is missing to reach the host. On a runner a key and a pin
// have to be given; a person's own agent and known_hosts do as well.
func (c *Connection) Check(s Source) []error {
	var problems []error
	if c.Host == "" {
		problems = append(problems, s.Missing("host", hostExample))
	}
	if !s.Runner {
		return problems
	}
	if c.SSHKey == "" {
		problems = append(problems, s.Missing("ssh-key", "${{ secrets.SSH_KEY }}"))
	}
	if c.KnownHosts == "" && c.HostFingerprint == "" {
		problems = append(problems, fault.New(fault.Input, "known-hosts",
			"make its lines once with `ssh-keyscan HOST`, compare them with the host's own key, and keep them in a variable",
			"is required, or host-fingerprint: a host whose key nobody pinned is never trusted"))
	}
	return problems
}

// Person is what a person's account offers on the command line in place of
// inputs that were left out.
type Person struct {
	AgentSocket string
	KnownHosts  string // path
}

// Config makes the connection's settings of the inputs. A person is nil on a
// runner.
func (c *Connection) Config(person *Person) host.Config {
	key, certificate := splitCertificate(string(c.SSHKey))
	config := host.Config{
		Address:     c.Host,
		Key:         key,
		Certificate: certificate,
		Passphrase:  c.SSHKeyPassphrase.Bytes(),
		KnownHosts:  c.KnownHosts.Bytes(),
		Fingerprint: c.HostFingerprint,
		Jump:        c.JumpHost,
	}
	if person == nil {
		return config
	}
	if c.SSHKey == "" {
		config.AgentSocket = person.AgentSocket
	}
	// A fingerprint pins the host by itself, but not the host on the way.
	pinned := c.KnownHosts != "" || c.HostFingerprint != "" && c.JumpHost == ""
	if !pinned && person.KnownHosts != "" {
		// Without the file the connection says that nothing pins the host.
		config.KnownHosts, _ = os.ReadFile(person.KnownHosts)
	}
	return config
}

// splitCertificate takes the line of an OpenSSH certificate out of what was
// given as the key.
func splitCertificate(text string) (key, certificate []byte) {
	if text == "" {
		return nil, nil
	}
	var rest []string
	for _, line := range strings.Split(text, "\n") {
		if kind, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasSuffix(kind, "-cert-v01@openssh.com") {
			certificate = []byte(strings.TrimSpace(line) + "\n")
			continue
		}
		rest = append(rest, line)
	}
	return []byte(strings.Join(rest, "\n") + "\n"), certificate
}
