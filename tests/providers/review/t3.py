from raw import *
# stale acknowledgements after a re-attachment
s=Server()
big=b'x'*(700*1024)
w=Conn(s); w.send(auth('big'),step1('big')); w.frames(.5)
clock=0
for i in range(24):
    t=b'y'*(700*1024)
    u=edit(1,clock,t); clock+=len(t); w.send(upd('big',u)); 
w.frames(2)
c=Conn(s,rcvbuf=4096)
c.send(auth('d'),step1('d')); print([f[1][2:4].hex() for f in c.frames(.5) if f[0]==2])
c.send(step2('d'))
c.frames(.5)
# the writer is blocked by a document that is large
c.send(auth('big'),step1('big')); time.sleep(1)
for i in range(5): c.send(upd('d',edit(9,i,'x'))); 
time.sleep(.5)
# detached and attached again: the provider's counter is 1 for its answer, which it has not sent
c.send(close('d')); time.sleep(.2); c.send(auth('d'),step1('d')); time.sleep(.5)
fs=c.frames(2)
print([ {b'\0':'sync','\1':'aw'}.get(f[1][2:3], f[1][2:4].hex()) if f[1][2:3]!=b'\0' else 'sync%d'%f[1][3] for f in fs if f[0]==2 and f[1].startswith(vs('d'))])
# re-attachment with a batch of more than 8 KiB behind CLOSE: is the client id taken from it?
for size in (100,20000,200000):
  bad=0
  for i in range(10):
    d=f'r{size}-{i}'
    c=Conn(s); c.send(auth(d),step1(d)); c.frames(.2); c.send(step2(d),aw(d,7,1)); c.frames(.1)
    n=b'z'*size
    # what a provider sends in one go: an edit, it leaves, and attaches again
    c.send(upd(d,edit(7,0,n)),aw(d,7,1,'null'),close(d),auth(d),step1(d),step2(d),aw(d,7,2),upd(d,edit(7,size,'more')))
    fs=c.frames(1.5)
    ack=[f[1][len(vs(d)):] for f in fs if f[0]==2 and f[1][len(vs(d))]==8]
    bad+= len(ack)<2
    c.s.close()
  print('size',size,'not acknowledged',bad,'of 10',ack)
s.kill()
