import socket, os, struct, subprocess, sys, time, tempfile, shutil, re, threading
BIN=os.environ.get('BIN','/work/wt-review/target/debug/cowrite')
class Server:
    def __init__(s,*flags,data=None):
        s.data=data or tempfile.mkdtemp(prefix='cowrite-rev-')
        env={k:v for k,v in os.environ.items() if not k.startswith('COWRITE_')}
        s.log=open('/tmp/review/log','wb')
        s.p=subprocess.Popen([BIN,'serve','--listen','127.0.0.1:0','--data',s.data,*flags],stdout=subprocess.PIPE,stderr=s.log,env=env)
        line=s.p.stdout.readline().decode()
        while 'listening on' not in line: line=s.p.stdout.readline().decode()
        s.port=int(re.search(r':(\d+)',line.split('http://')[1]).group(1))
    def rss(s):
        return int(open(f'/proc/{s.p.pid}/statm').read().split()[1])*4096/1e6
    def metric(s,name):
        import urllib.request
        t=urllib.request.urlopen(f'http://127.0.0.1:{s.port}/metrics',timeout=20).read().decode()
        return sum(float(l.split()[-1]) for l in t.split('\n') if l.startswith(name+' ') or l.startswith(name+'{'))
    def kill(s,keep=False):
        s.p.kill(); s.p.wait()
        if not keep: shutil.rmtree(s.data,ignore_errors=True)
def vu(n):
    o=b''
    while n>127: o+=bytes([n&127|128]); n>>=7
    return o+bytes([n])
def vs(t):
    if isinstance(t,str): t=t.encode()
    return vu(len(t))+t
def ws(payload,op=2):
    n=len(payload)
    h=bytes([0x80|op])
    if n<126: h+=bytes([0x80|n])
    elif n<65536: h+=bytes([0x80|126])+struct.pack('>H',n)
    else: h+=bytes([0x80|127])+struct.pack('>Q',n)
    return h+b'\0\0\0\0'+payload
class Conn:
    def __init__(s,server,path='/hocuspocus',rcvbuf=None):
        s.s=socket.socket()
        if rcvbuf: s.s.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,rcvbuf)
        s.s.connect(('127.0.0.1',server.port))
        s.s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)
        s.s.sendall((f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n').encode())
        s.buf=b''
        while b'\r\n\r\n' not in s.buf: s.buf+=s.s.recv(4096)
        s.buf=s.buf.split(b'\r\n\r\n',1)[1]
    def send(s,*ms): s.s.sendall(b''.join(ws(m) for m in ms))
    def frame(s,timeout=5):
        s.s.settimeout(timeout)
        def need(n):
            while len(s.buf)<n:
                d=s.s.recv(65536)
                if not d: raise EOFError
                s.buf+=d
        need(2); n=s.buf[1]; h=2
        if n==126: need(4); n=struct.unpack('>H',s.buf[2:4])[0]; h=4
        elif n==127: need(10); n=struct.unpack('>Q',s.buf[2:10])[0]; h=10
        need(h+n); op=s.buf[0]&15; p=s.buf[h:h+n]; s.buf=s.buf[h+n:]
        return op,p
    def frames(s,timeout=1,until=None):
        out=[]
        try:
            while True:
                f=s.frame(timeout); out.append(f)
                if until and until(f): break
        except (socket.timeout,EOFError,ConnectionError) as e: out.append(('end',type(e).__name__))
        return out
def auth(d,t=''): return vs(d)+b'\2\0'+vs(t)+vs('4.8.0')
def step1(d,sv=b'\0'): return vs(d)+b'\0\0'+vs(sv)
def step2(d,u=b'\0\0'): return vs(d)+b'\0\1'+vs(u)
def upd(d,u): return vs(d)+b'\0\2'+vs(u)
def close(d): return vs(d)+b'\7'
def aw(d,client,clock,json='{}'): return vs(d)+b'\1'+vs(b'\1'+vu(client)+vu(clock)+vs(json))
def edit(client=1,clock=0,text='x'):
    # first: parent root 't'
    if clock==0: return b'\1\1'+vu(client)+vu(0)+b'\4\1\1t'+vs(text)+b'\0'
    return b'\1\1'+vu(client)+vu(clock)+b'\x84'+vu(client)+vu(clock-1)+vs(text)+b'\0'
