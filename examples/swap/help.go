package main

const usage = `One service that answers the same whatever it caches in, and however it encodes.

Usage:  go run ./examples/swap [flags]

      --backend TIERS    places to cache in, nearest first, joined by + (default memory).
                         Those in the process come before the others; each is asked
                         only for what the ones before it do not have

           in the process
             memory      ristretto          needs nothing
             otter       otter              needs nothing
           a file of this machine
             disk        bbolt, in --dir    needs nothing
           a server that processes share    needs one that runs, at
             valkey      --valkey URL       or VALKEY_URL     valkey://localhost:6379
             redis       --redis URL        or REDIS_URL      redis://localhost:6379
             memcached   --memcached ADDR   or MEMCACHED      localhost:11211
             postgres    --postgres URL     or POSTGRES_URL   there is no default:
                                            postgres://user:password@localhost:5432/database

      --codec CODEC      how values become bytes outside of the process (default json):
                         json, cbor, msgpack, gob, protobuf or string; then, joined by +,
                         what wraps it, in this order: zstd or s2 compress, aead
                         encrypts with the key in SWAP_SECRET, 64 hexadecimal digits

      --namespace NAME   begins every key there, and names the file and the table (default swap)
      --dir DIR          where disk has its file (default the temporary folder)
      --budget D         for each call of a place outside of the process (default 100ms)
  -h, --help             this text

Examples
  needs nothing:           go run ./examples/swap --backend memory+disk --codec cbor+zstd
  one shared server:       go run ./examples/swap --backend memory+valkey
  three tiers:             go run ./examples/swap --backend otter+disk+valkey --codec json+s2
  a server elsewhere:      go run ./examples/swap --backend redis --redis redis://user:password@cache.example:6379
  in memcached:            MEMCACHED=localhost:11211 go run ./examples/swap --backend otter+memcached
  in a table:              POSTGRES_URL=postgres://localhost/app go run ./examples/swap --backend postgres
  encrypted:               SWAP_SECRET=$(openssl rand -hex 32) go run ./examples/swap --backend disk --codec json+aead

Run it twice: what lasts longer than the process, all but memory and otter, has the
answers the second time. It prints the answers, and how many reads took how many loads.
A server that is not there costs loads, and no answer.
`
