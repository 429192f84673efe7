from raw import *
s=Server()
d='r'; c=Conn(s); c.send(auth(d),step1(d)); c.frames(.2); c.send(step2(d),aw(d,7,1)); c.frames(.1)
n=b'z'*20000
full=b'\1\2\7\0'+b'\4\1\1t'+vs(n)+b'\x84\7'+vu(19999)+vs('more')+b'\0'
c.send(upd(d,edit(7,0,n)),aw(d,7,1,'null'),close(d),auth(d),step1(d),aw(d,7,2),upd(d,edit(7,20000,'more')))
t=time.time(); 
while time.time()-t<75:
    try: op,p=c.frame(75-(time.time()-t))
    except Exception as e: print('%.1f'%(time.time()-t),type(e).__name__); break
    if op==9: c.s.sendall(ws(p,10)); print('%.1f ping'%(time.time()-t)); continue
    if op==8: print('%.1f close'%(time.time()-t),p); break
    m=p[2:]
    print('%.1f'%(time.time()-t), m[:60].hex() if len(m)<100 else (m[:4].hex(),len(m)), m if m[:2]==b'\2\1' else '',flush=True)
    if m[:2]==b'\0\0': c.send(step2(d,full))
s.kill()
