#!/usr/bin/env bash
# label: slow; cost: 50
# Several hosts, as network namespaces with a link each: the bits of one, a rank lost on another host, and a stop that reaches all of them.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/run_control.sh"

# Names of this process's own, so that nobody else's namespaces are touched.
tag=zk$$
bridge=${tag}b
clean() {
  [ -z "$job" ] || kill -9 "$job" 2>/dev/null || true
  for i in 1 2; do ip netns del $tag-$i 2>/dev/null || true; done
  ip link del $bridge 2>/dev/null || true
  rm -rf "$ZK_TMP"
}
trap clean EXIT

command -v ip >/dev/null && ip netns add $tag-1 2>/dev/null || skip "this user may not make network namespaces (ip netns)"
ip netns add $tag-2
ip link add $bridge type bridge 2>/dev/null || skip "no bridge between network namespaces here"
ip link set $bridge up
for i in 1 2; do
  ip link add ${tag}v$i type veth peer name eth0 netns $tag-$i
  ip link set ${tag}v$i master $bridge up
  ip -n $tag-$i addr add 10.213.77.$i/24 dev eth0
  ip -n $tag-$i link set eth0 up
  ip -n $tag-$i link set lo up
done

# What mpirun takes for ssh: HOST COMMAND..., in the host's namespace and under its own name.
cat >agent.sh <<SH
#!/bin/sh
host=\$1
shift
exec ip netns exec $tag-\${host##*.} unshare --uts sh -c "hostname node\${host##*.}; cd '$ZK_TMP'; \$*"
SH
chmod +x agent.sh
printf '10.213.77.1 slots=2\n10.213.77.2 slots=2\n' >hosts
# on_hosts COMMAND...: four workers on two hosts. mpirun itself runs on the first.
on_hosts() {
  ip netns exec $tag-1 mpirun -n 4 --hostfile hosts --bind-to none --mca plm_rsh_agent "$ZK_TMP/agent.sh" \
    --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 -x OMP_NUM_THREADS -x OMP_WAIT_POLICY -x ZK_WATCH_LIMIT_S "$@"
}
# workers_of HOST: process ids there
workers_of() { for id in $(ip netns pids $tag-"$1"); do [ "$(cat "/proc/$id/comm" 2>/dev/null)" != zerokl ] || echo "$id"; done; }

export ZK_WATCH_LIMIT_S=4
reference
on_hosts "$ZK_BUILD/zerokl" train tiny.yaml run.dir=two 2>log || { cat log >&2; fail "two hosts"; }
same_chain two "two hosts"

# A rank on the other host is killed; a host falls silent; a signal on one host stops both.
on_hosts "$ZK_BUILD/zerokl" train tiny.yaml run.dir=killed run.steps=1000 2>log & job=$!
await killed/trajectories/step_000002.h5
kill -9 "$(workers_of 2 | head -1)"
ended
[ $code -ne 0 ] || fail "a rank died on another host and mpirun says all is well"
one_error " on node2) died while " "the last good checkpoint is killed/checkpoints/step_"
finish killed "a rank killed on another host" 2

on_hosts "$ZK_BUILD/zerokl" train tiny.yaml run.dir=cut run.steps=1000 2>log & job=$!
await cut/trajectories/step_000002.h5
ip -n $tag-2 link set eth0 down
ended_by=$(($(date +%s) + 60))
until grep -q 'error: ' log || [ "$(date +%s)" -gt $ended_by ]; do sleep 0.2; done
one_error " on node2) has not answered for 4 s while "
# The launcher cannot reach that host either: what is left there is ended here.
sleep 2
for id in $(workers_of 2) $(workers_of 1); do kill -9 "$id" 2>/dev/null || true; done
for id in $(ip netns pids $tag-2); do kill -9 "$id" 2>/dev/null || true; done
kill -9 "$job" 2>/dev/null || true
ended
ip -n $tag-2 link set eth0 up
finish cut "a host cut off" 2

on_hosts "$ZK_BUILD/zerokl" train tiny.yaml run.dir=stopped run.steps=1000 2>log & job=$!
await stopped/trajectories/step_000002.h5
kill -USR1 "$(workers_of 2 | head -1)"
ended
[ $code -eq 3 ] || { cat log >&2; fail "a stop on another host: exit code $code"; }
one_error 'interrupted: SIGUSR1 reached rank'
finish stopped "a stop on another host" 1
echo "two hosts: the same bits, one message a failure"
