module causeway/interop/rows

go 1.26.0

require github.com/xssnick/tonutils-go v1.15.0

require (
	filippo.io/edwards25519 v1.1.0 // indirect
	github.com/xssnick/raptorq v1.2.0 // indirect
	golang.org/x/crypto v0.42.0 // indirect
)
