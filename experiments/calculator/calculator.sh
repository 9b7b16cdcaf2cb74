#!/bin/sh
# An environment: the model writes "12+34;", the calculator answers "46" and a newline, and the model goes on. Reads and writes JSON lines.
number() { # without leading zeros, which would make it octal; nothing if it is none of at most 9 digits
  case $1 in '' | *[!0-9]* | ??????????*) return 1 ;; esac
  n=$1
  while [ "${n#0}" != "$n" ] && [ -n "${n#0}" ]; do n=${n#0}; done
}
while IFS= read -r line; do
  id=${line#*\"id\": } id=${id%%,*}
  said=${line#*\"completion\": \"} said=${said%%\"*}
  sum=${said%;}
  left=${sum%%[+*-]*}
  operation=${sum#"$left"}
  right=${operation#?}
  operation=${operation%"$right"}
  answer='?'
  if number "$left"; then
    a=$n
    if number "$right"; then answer=$(($a $operation $n)); fi
  fi
  printf '{"id": %s, "reply": "%s\\n"}\n' "$id" "$answer"
done
