#!/bin/sh
# A reward in shell, without any tool: 1 where the completion is the label. It takes strings apart by hand, which is enough for labels without quotes.
while IFS= read -r line; do
  id=${line#*\"id\": } id=${id%%,*}
  said=${line#*\"completion\": \"} said=${said%%\"*}
  want=${line#*\"label\": \"} want=${want%%\"*}
  reward=0
  [ "$said" != "$want" ] || reward=1
  echo "{\"id\": $id, \"reward\": $reward}"
done
