package inputs

import "github.com/shiksha/actions/pkg/host"

// Vault is the inputs of the verbs that reach the host where copies of backups are
// (x-shiksha.backups.copy). It is embedded in the inputs of a verb.
type Vault struct {
	BackupSSHKey Secret `name:"backup-ssh-key" group:"connection" placeholder:"@FILE" help:"Private key for the host that backups are copied to (x-shiksha.backups.copy in the Compose file), which known-hosts has to pin as well. Default: ssh-key."`
}

// VaultConfig makes the settings of that connection, but for the address, of those of
// the host.
func (v *Vault) VaultConfig(of host.Config) host.Config {
	of.Address, of.Jump, of.Fingerprint = "", "", ""
	if v.BackupSSHKey != "" {
		key, certificate := splitCertificate(string(v.BackupSSHKey))
		of.Key, of.Certificate, of.Passphrase, of.AgentSocket = key, certificate, nil, ""
	}
	return of
}
