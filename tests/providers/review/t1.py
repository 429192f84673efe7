from raw import *
s=Server()
try:
    # E25: what has arrived counts, also when the connection breaks right behind it
    for wire in ('ws','hocuspocus'):
        lost=0
        for i in range(20):
            d=f'{wire}{i}'
            if wire=='ws':
                c=Conn(s,f'/ws/{d}'); m=[b'\0\0'+vs(b'\0'), b'\0\2'+vs(edit())]
            else:
                c=Conn(s); m=[auth(d),step1(d),upd(d,edit())]
            c.send(*m); c.s.shutdown(socket.SHUT_WR); 
            time.sleep(.3)
            c.s.close()
            r=Conn(s); r.send(auth(d),step1(d))
            fs=r.frames(1,until=lambda f:f[0]==2 and f[1].startswith(vs(d)+b'\0\1'))
            step2s=[f for f in fs if f[0]==2 and f[1].startswith(vs(d)+b'\0\1')]
            lost+= not step2s or step2s[0][1].endswith(b'\2\0\0')
            r.s.close()
        print(wire,'lost',lost,'of 20')
    # CLOSE while opening
    lost=0
    for i in range(20):
        d=f'c{i}'; c=Conn(s); c.send(auth(d),step1(d),upd(d,edit()),close(d)); time.sleep(.3)
        r=Conn(s); r.send(auth(d),step1(d))
        fs=r.frames(1,until=lambda f:f[0]==2 and f[1].startswith(vs(d)+b'\0\1'))
        st=[f for f in fs if f[0]==2 and f[1].startswith(vs(d)+b'\0\1')]
        lost+= not st or st[0][1].endswith(b'\2\0\0')
    print('CLOSE behind an update while opening: lost',lost,'of 20')
    # order of Renew and batch : token needed; below
finally: s.kill()
