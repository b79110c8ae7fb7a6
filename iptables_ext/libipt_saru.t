:INPUT,FORWARD,OUTPUT
-m saru --id 1 --sense src-addr --map range;=;OK
-m saru ! --id 1 --sense dst-addr --map range;=;OK
