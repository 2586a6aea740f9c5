# Shell functions to start and stop one broker; for scripts that source this file after setting:
#   bin   the corelane binary
#   work  a directory for what the broker writes: data/, broker.log
# They leave behind: broker_pid, address, metrics_url (empty where HTTP is off).

# Sets bin: $CORELANE_BIN, or the release binary, built if it is not there yet.
find_binary() {
    bin=${CORELANE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/corelane}
    [[ -n ${CORELANE_BIN:-} ]] || (cd "$root" && cargo build --release --quiet --bin corelane)
    [[ -x $bin ]] || { echo "no such program: $bin" >&2; return 1; }
}

# lasting_port: a free port that no outgoing connection is given while the broker is down that comes back on it.
lasting_port() {
    local port first
    read -r first _ </proc/sys/net/ipv4/ip_local_port_range
    while port=$((first - 1 - ($(od -An -N2 -tu2 /dev/urandom) % (first / 2)))); (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# start_broker [ARGUMENTS...]: returns once the ready line is there; 1 if the broker ends before.
start_broker() {
    local fifo=$work/ready line=
    rm -f "$fifo"
    mkfifo "$fifo"
    "$bin" serve --data "$work/data" "$@" >"$fifo" 2>>"$work/broker.log" &
    broker_pid=$!
    exec {broker_stdout}<"$fifo"
    read -r line <&"$broker_stdout" || true
    address=${line#corelane ready on }
    address=${address%%,*}
    metrics_url=$(sed -n 's/.*metrics on \(http[^;]*\);.*/\1/p' <<<"$line")
    if [[ $line != "corelane ready on "* ]]; then
        echo "the broker did not become ready: $line" >&2
        tail -n 20 "$work/broker.log" >&2
        return 1
    fi
}

# stop_broker: SIGTERM; the status is the broker's.
stop_broker() {
    kill "$broker_pid"
    local status=0
    wait "$broker_pid" || status=$?
    broker_pid=
    exec {broker_stdout}<&-
    return "$status"
}

# kill_broker: SIGKILL.
kill_broker() {
    kill -9 "$broker_pid"
    wait "$broker_pid" 2>/dev/null || true
    broker_pid=
    exec {broker_stdout}<&-
}

# For a trap on EXIT.
kill_broker_if_running() {
    if [[ -n ${broker_pid:-} ]]; then kill_broker; fi
}
