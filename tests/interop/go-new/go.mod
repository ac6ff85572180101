module causeway/interop/go-new

go 1.26.0

require (
	causeway/interop/rows v0.0.0
	github.com/xssnick/tonutils-go v1.18.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/pierrec/lz4/v4 v4.1.27 // indirect
	github.com/xssnick/raptorq v1.5.0 // indirect
	golang.org/x/crypto v0.53.0 // indirect
)

replace causeway/interop/rows => ../rows
