package extension

import (
	"slices"
	"strings"
)

// findings are the names that a preflight gives what it finds. A test compares them
// with what its packages tell.
var findings = strings.Fields(`
P01.images P01.interpolation
P02.database-ports P02.eviction P02.health P02.health-lies P02.host-file P02.latest P02.logs P02.memory P02.ports
P02.restart P02.stop-grace P02.twice P02.wait-timeout
P03.committed P03.secrets
P04.registry
P05.alias P05.gateway P05.headers P05.health P05.hosts P05.limits P05.max-fails P05.nginx P05.stub-status P05.test
P06.certificate P06.chain P06.expiry P06.key P06.names
P07.config P07.metrics P07.prometheus P07.promtool P07.rules P07.targets
P08.alertmanager P08.amtool P08.config P08.routes P08.variables
P09.dashboard P09.dashboards P09.datasource P09.provider
P10.clock P10.disk P10.engine P10.forwarding P10.host P10.inodes P10.ports
P11.database P11.heads
P12.pipefail P12.postgres P12.space P12.userns
P13.ledger
P14.rollback
P15.gpu P15.runtime P15.vram
P16.actionlint P16.build-packages P16.concurrency P16.dockerfile P16.environment P16.keyscan P16.login P16.loop
P16.migration P16.permissions P16.pinned P16.ports P16.pull-request-target P16.remote-errors P16.remote-secrets
P16.rollback P16.services P16.ssh-key P16.tag P16.workflows
P17.address P17.annotations P17.anonymous P17.attachment P17.backups P17.bind P17.blkio-config P17.build P17.cgroup
P17.cgroup-parent P17.container-name P17.cpu-count P17.cpu-percent P17.cpu-period P17.cpu-quota P17.cpu-rt-period
P17.cpu-rt-runtime P17.cpu-shares P17.cpuset P17.depends-on P17.device-cgroup-rules P17.devices P17.dns-opt
P17.domainname P17.drain P17.empty P17.encryption P17.external P17.external-links P17.external-network P17.folder P17.gateway
P17.global P17.gpu P17.gpus P17.group-add P17.host-ip P17.host-port P17.image-volume P17.ingress P17.ipam P17.ipc P17.ipv6
P17.links P17.mac-address P17.mem-swappiness P17.memswap-limit P17.migrate P17.migrate-file P17.monitor P17.network-driver P17.network-mode
P17.oom-kill-disable P17.pid P17.platform P17.port-range P17.post-start P17.pre-stop P17.privileged P17.pull-policy
P17.reload P17.reservations P17.restart P17.runtime P17.security-opt P17.selinux P17.shm-size P17.size P17.start-first
P17.start-interval P17.stays-away P17.storage-opt P17.subpath P17.swarm P17.template P17.tmpfs P17.unhealthy
P17.userns-mode P17.uts P17.volume P17.volumes-from
`)

// isFinding tells whether a name is one of a finding, or the number that several share.
func isFinding(name string) bool {
	return slices.ContainsFunc(findings, func(f string) bool { number, _, _ := strings.Cut(f, "."); return name == f || name == number })
}
