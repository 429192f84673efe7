from raw import *
s=Server('--auth-timeout','1s')
a=Conn(s); a.send(auth('d'),close('d'))
b=Conn(s); b.send(auth('d'),step1('d'))
n=Conn(s)
for i in range(11):
    time.sleep(9); print(f'{(i+1)*9}s connections',s.metric('cowrite_connections'),flush=True)
print('CLOSEd:',a.frames(1)[-3:]); 
s.kill()
