package stack

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
)

// UsesGPU tells whether a service reserves a device for computing.
func (s *Stack) UsesGPU(service string) bool {
	c := s.Project.Services[service]
	if len(c.Gpus) > 0 || c.Runtime == "nvidia" || slices.ContainsFunc(c.Devices, isGPU) {
		return true
	}
	if c.Deploy == nil || c.Deploy.Resources.Reservations == nil {
		return false
	}
	return slices.ContainsFunc(c.Deploy.Resources.Reservations.Devices, func(d types.DeviceRequest) bool {
		return slices.Contains(d.Capabilities, "gpu") || d.Driver == "nvidia"
	})
}

// isGPU tells whether an entry of devices is a GPU by its CDI name, as "nvidia.com/gpu=all".
func isGPU(d types.DeviceMapping) bool {
	kind, device, _ := strings.Cut(d.Source, "=")
	vendor, class, _ := strings.Cut(kind, "/")
	return d.Source == d.Target && vendor != "" && class == "gpu" && device != ""
}

// MemoryLimit is what one unit of a service may use, in bytes; 0 for no limit.
func (s *Stack) MemoryLimit(service string) int64 {
	c := s.Project.Services[service]
	if c.Deploy != nil && c.Deploy.Resources.Limits != nil && c.Deploy.Resources.Limits.MemoryBytes > 0 {
		return int64(c.Deploy.Resources.Limits.MemoryBytes)
	}
	return int64(c.MemLimit)
}

// databases are images whose ports nobody outside the stack has business with, and of
// which two at once must not have the same data.
var databases = append(slices.Clone(migrated),
	"redis", "redis-stack", "redis-stack-server", "valkey", "keydb", "dragonfly", "memcached", "elasticsearch", "opensearch",
	"rabbitmq", "etcd", "neo4j", "qdrant", "weaviate", "milvus", "influxdb", "couchdb", "nats", "kafka",
)

// migrated are those of them whose schema migrations change: caches, brokers and indexes have none.
var migrated = append(slices.Clone(postgres),
	"mysql", "mariadb", "percona", "mongo", "mongodb", "clickhouse", "clickhouse-server", "cassandra", "scylla", "cockroach",
)

// postgres are those of them that pg_dump dumps.
var postgres = []string{"postgres", "postgresql", "pgvector", "postgis", "timescaledb"}

// PostgresImage tells whether an image is one of PostgreSQL, as far as its name tells.
func PostgresImage(image string) bool { return slices.Contains(postgres, ImageName(image)) }

// DatabaseImage tells whether an image is one of a database, as far as its name tells.
func DatabaseImage(image string) bool { return slices.Contains(databases, ImageName(image)) }

// ImageName is the last part of an image's repository: "postgres" of
// docker.io/library/postgres:15.
func ImageName(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return ""
	}
	return path.Base(reference.Path(named))
}

// IsDatabase tells whether a service is a database: by its image, or since it is dumped.
func (s *Stack) IsDatabase(service string) bool {
	svc := s.Services[service]
	return DatabaseImage(svc.Image) || svc.Ext.Backups != nil
}

// IsMigrated tells whether a service is a database that a migration may be of: a cache or a broker
// beside it says nothing of where the rows are.
func (s *Stack) IsMigrated(service string) bool {
	svc := s.Services[service]
	return slices.Contains(migrated, ImageName(svc.Image)) || svc.Ext.Backups != nil
}

// Writes lists the volumes, by name, and the folders of the host that a service may write
// to, but for what the host has for all.
func (s *Stack) Writes(service string) []string {
	var out []string
	for _, m := range s.Project.Services[service].Volumes {
		ours := slices.ContainsFunc(s.Services[service].Files, func(f File) bool { return f.Target == m.Target })
		switch {
		case m.ReadOnly:
		case m.Type == types.VolumeTypeVolume && s.Project.Volumes[m.Source].Name != "":
			out = append(out, s.Project.Volumes[m.Source].Name)
		case m.Type == types.VolumeTypeBind && !ours && !common(m.Source):
			out = append(out, path.Clean(m.Source))
		}
	}
	return out
}

// common tells whether a path of the host belongs to its system, where many write.
func common(source string) bool {
	return source == "/" || slices.ContainsFunc([]string{"/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr", "/var/lib/docker", "/var/log", "/var/run"},
		func(folder string) bool { return source == folder || strings.HasPrefix(source, folder+"/") })
}

// HostPort is the port of the host that a unit holds by an entry of ports ("8080/tcp"), "" for
// none: one that the engine chooses is nobody's own.
func HostPort(p types.ServicePortConfig) string {
	if p.Published == "" || p.Published == "0" {
		return ""
	}
	return p.Published + "/" + cmp.Or(p.Protocol, "tcp")
}

// Clash tells whether nobody can have one port at both addresses. One that is not valid is all
// of the host's.
func Clash(a, b netip.Addr) bool {
	every := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return a == b || every(a) || every(b)
}
