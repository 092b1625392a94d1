# Every target works on a fresh Debian or Ubuntu machine with Go. demo, test and
# bench need root: they start an engine, a registry and SSH servers, and stop
# what they started.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT  = github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
DEADCODE    = golang.org/x/tools/cmd/deadcode@v0.48.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
# What tests alone are to reach: what writes action.yml and the tables, and hears events.
FOR_TESTS   = ^actions/manifest/|^pkg/verify/kind/describe\.go:|: Recorder\.

.DEFAULT_GOAL := help
.PHONY: help demo test act mutants campaign e2e-swarm e2e-build e2e-application e2e-shikshasetu lint bench image release-tree fmt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The programs are built first, not run by `go run`: that would keep a SIGTERM to
# itself, and what they started would stay.
demo: ## the quickstart, rolled six times under load; the report is .demo/report.json
	@go build -o .lab/bin/ ./e2e/demo && exec .lab/bin/demo

# What carries load runs alone (-p 1, and after the rest): a request that is late
# because another package has the processor looks like one that a release lost.
test: ## every test, the end-to-end ones included
	@go build -o .lab/bin/ ./e2e/setup && exec .lab/bin/setup sh -c '\
	packages=$$(go list ./...) || exit; \
	go test -p 2 -timeout 30m $$(echo "$$packages" | grep -v /e2e); rest=$$?; \
	go test -p 1 -parallel 3 -timeout 60m ./e2e/... && exit $$rest'

act: ## the workflows, run with act on a sandbox host, offline (some minutes the first time)
	@go build -o .lab/bin/ ./e2e/setup && SHIKSHA_ACT=1 exec .lab/bin/setup go test -count=1 -v -timeout 45m ./e2e/act

e2e-swarm: ## a stack on a Swarm of two nodes: all that is the same as on one host, and nodes, managers and programs that fail
	@go build -o .lab/bin/ ./e2e/setup && SHIKSHA_E2E_SWARM=1 exec .lab/bin/setup go test -count=1 -p 1 -timeout 30m -v ./e2e/swarmlab ./e2e/swarm

e2e-build: ## the tests of builds alone, with those that `make test` leaves out: builders that die or are started, other caches, an SBOM
	@go build -o .lab/bin/ ./e2e/setup && SHIKSHA_E2E_BUILD=1 exec .lab/bin/setup go test -p 1 -timeout 30m -run TestBuild ./e2e

e2e-application: ## the application of examples/shikshasetu: its own tests, and released, rolled and verified as in `make test`
	@go build -o .lab/bin/ ./e2e/setup && exec .lab/bin/setup go test -count=1 -timeout 30m -v ./e2e/shikshasetu -run 'TestTheApplication|TestBackend' -application

e2e-shikshasetu: ## release the production stack of 15 units on real parts: about fifteen minutes, 3 GB
	@go build -o .lab/bin/ ./e2e/setup && exec .lab/bin/setup go test -count=1 -timeout 30m -v ./e2e/shikshasetu -run TestTheStack -whole

mutants: ## turn each comparison of the checks off in turn: some test has to fail (some minutes)
	go run ./tools/mutants

campaign: ## an hour of attacks: every fuzzer for two minutes, then a kill at each step of a release and a backup
	@go build -o .lab/bin/ ./e2e/setup ./tools/campaign && exec .lab/bin/setup .lab/bin/campaign

bench: ## compare with docker compose: time, connections, memory, what users feel
	@go build -o .lab/bin/ ./e2e/bench && exec .lab/bin/bench

lint: ## gofmt, go vet, staticcheck, actionlint, the sizes of everything, dead code, govulncheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not formatted (make fmt):" $$unformatted; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go run $(ACTIONLINT)
	go run ./tools/measure
	@dead=$$(go run $(DEADCODE) -test ./...) || exit; test -z "$$dead" || { echo "nothing reaches this:"; echo "$$dead"; exit 1; }
	@dead=$$(go run $(DEADCODE) -filter '^github.com/shiksha/actions/(pkg|actions)/' ./...) || exit; \
	dead=$$(echo "$$dead" | grep -vE '$(FOR_TESTS)'); test -z "$$dead" || { echo "only tests reach this:"; echo "$$dead"; exit 1; }
	@if curl -sfI -m 10 -o /dev/null https://vuln.go.dev/index/db.json; then go run $(GOVULNCHECK) ./...; \
	else echo "govulncheck: left out, the vulnerability database (vuln.go.dev) cannot be reached"; fi

image: ## build the image of the actions
	docker build --tag shiksha/actions .

release-tree: ## write what a version's tag points to: IMAGE=ghcr.io/shiksha/actions@sha256:... OUT=folder
	@go run ./tools/release tree -image '$(IMAGE)' -out '$(OUT)'

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')
