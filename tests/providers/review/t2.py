from raw import *
import json, signal
SECRET='a secret of at least thirty-two bytes'
def mint(*a):
    env={k:v for k,v in os.environ.items() if not k.startswith('COWRITE_')}; env['COWRITE_JWT_SECRET']=SECRET
    return subprocess.run([BIN,'token',*a],env=env,capture_output=True,text=True).stdout.strip()
s=Server('--jwt-secret',SECRET)
w=mint('--sub','ada','--document','*=write'); r=mint('--sub','ada','--document','*=read'); bob=mint('--sub','bob','--document','*=write')
print(len(w),len(r),len(bob))
# 1: order of a renewal and what was said before it
for what,first,second in (('write then read',w,r),('read then write',r,w)):
    d='order '+what
    c=Conn(s); c.send(auth(d,first),step1(d)); c.frames(1)
    c.send(upd(d,edit()),auth(d,second))
    fs=c.frames(1)
    print(what,'- an update before the second token was answered', [f[1][len(vs(d)):] for f in fs if f[0]==2 and f[1][len(vs(d))]==8])
# 2: a second token while the document is being opened
d='opening'
c=Conn(s); c.send(auth(d,r),auth(d,w),step1(d)); fs=c.frames(1)
print('two tokens at once: scopes',[f[1][len(vs(d)):] for f in fs if f[0]==2 and f[1][len(vs(d))]==2])
c.send(upd(d,edit())); fs=c.frames(1)
print('  then an update is answered',[f[1][len(vs(d)):] for f in fs if f[0]==2 and f[1][len(vs(d))]==8])
# 3: shutdown with a connection that has no session
idle=Conn(s); d='idle'; idle.send(auth(d,w),close(d)); idle.frames(1)
den=Conn(s); den.send(auth(d,'bad')); den.frames(1)
live=Conn(s); live.send(auth(d,w),step1(d)); live.frames(1)
t=time.time(); s.p.send_signal(signal.SIGTERM)
for n,c in (('live',live),('CLOSE only',idle),('denied',den)):
    print(n,[ (f[0],f[1][:2].hex() if isinstance(f[1],bytes) else f[1]) for f in c.frames(6)], '%.1f s'%(time.time()-t))
s.p.wait(); print('exit',s.p.returncode,'after %.1f s'%(time.time()-t))
s.kill()
