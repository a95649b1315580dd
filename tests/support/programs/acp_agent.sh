#!/bin/sh
# An agent that speaks ACP, scripted: for a prompt it announces a call, asks whether it may, and tells what it was told.
# A prompt with `hang` in it waits for the cancellation instead.

call='"sessionId":"scripted-1"'
update() { printf '{"jsonrpc":"2.0","method":"session/update","params":{%s,"update":%s}}\n' "$call" "$1"; }
result() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
say() { update '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"'"$1"'"}}'; }

while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  case "$line" in
    *'"method":"initialize"'*)
      result "$id" '{"protocolVersion":1,"agentCapabilities":{"loadSession":true},"authMethods":[]}' ;;
    *'"method":"session/new"'* | *'"method":"session/load"'*) result "$id" '{"sessionId":"scripted-1"}' ;;
    *'"method":"session/prompt"'*hang*) prompt=$id && say 'I wait.' ;;
    *'"method":"session/prompt"'*)
      prompt=$id
      say 'I ask.'
      update '{"sessionUpdate":"tool_call","toolCallId":"call-1","title":"touch it","kind":"execute","status":"pending"}'
      printf '{"jsonrpc":"2.0","id":77,"method":"session/request_permission","params":{%s,"toolCall":{"toolCallId":"call-1","title":"touch it"},"options":[{"optionId":"yes","name":"Yes","kind":"allow_once"},{"optionId":"no","name":"No","kind":"reject_once"}]}}\n' "$call" ;;
    *'"method":"session/cancel"'*) result "$prompt" '{"stopReason":"cancelled"}' ;;
    *'"id":77'*)
      option=$(printf '%s' "$line" | sed -n 's/.*"optionId":"\([a-z]*\)".*/\1/p')
      update '{"sessionUpdate":"tool_call_update","toolCallId":"call-1","status":"completed"}'
      say "You said ${option:-nothing}."
      result "$prompt" '{"stopReason":"end_turn"}' ;;
    *'"method":'*'"id":'* | *'"id":'*'"method":'*) result "$id" '{}' ;;
  esac
done
