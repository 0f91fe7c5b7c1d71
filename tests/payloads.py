"""Hostile texts: what an attacker would write into a field in the hope that a page runs it.

Each calls `alert(1)` or sets `window.__pwned`, if it ever runs; `tests.browser` sees both. All are
texts that every field of several lines takes, and those of one line are names too: at most 200
characters, no control character but tab, carriage return and line feed.
"""

from __future__ import annotations

from dataclasses import dataclass

_MARKUP = {
    "script": r"""
<script>alert(1)</script>
<script>window.__pwned=1</script>
<SCRIPT>alert(1)</SCRIPT>
<ScRiPt >alert(1)</sCrIpT >
<script/src="data:text/javascript,alert(1)"></script>
<script type="module">alert(1)</script>
<script async src=data:,alert(1)></script>
<script x>alert(1)</script y>
<script>alert(1)
<scr<script>ipt>alert(1)</scr</script>ipt>
<<script>alert(1)//<</script>
<script>/*<!--*/alert(1)//--></script>
<script nonce="">alert(1)</script>
<script>window['__pwned']=1</script>
<noscript><p title="</noscript><script>alert(1)</script>">
<template><script>alert(1)</script></template>
<script>import('data:text/javascript,alert(1)')</script>
""",
    "handler": r"""
<img src=x onerror=alert(1)>
<img src=x onerror="window.__pwned=1">
<img/src=x/onerror=alert(1)>
<IMG SRC=x OnErRoR=alert(1)>
<img src="x" onerror='alert(1)' alt=''>
<img src=x:x onerror=alert&lpar;1&rpar;>
<body onload=alert(1)>
<body onpageshow="alert(1)">
<input autofocus onfocus=alert(1)>
<select autofocus onfocus=alert(1)></select>
<textarea autofocus onfocus=alert(1)></textarea>
<button popovertarget=x>go</button><p popover id=x onbeforetoggle=alert(1)>
<details open ontoggle=alert(1)><summary>more</summary></details>
<video><source onerror=alert(1)></video>
<video src=x onerror=alert(1)></video>
<audio src=x onerror=alert(1)></audio>
<iframe onload=alert(1)></iframe>
<object data=x onerror=alert(1)></object>
<marquee onstart=alert(1)>news</marquee>
<div contenteditable autofocus onfocus=alert(1) tabindex=0>
<p style="animation:x 1s" onanimationstart=alert(1)>
<p onpointerenter=alert(1)>over here</p>
<link rel=stylesheet href=x onerror=alert(1)>
<dialog open onclose=alert(1)><form method=dialog><button>ok</button></form></dialog>
<form onsubmit=alert(1)><button>send</button></form>
<x-y onclick=alert(1)>press</x-y>
<isindex onfocus=alert(1) autofocus>
""",
    "element": r"""
<iframe src="javascript:alert(1)"></iframe>
<iframe srcdoc="<script>alert(1)</script>"></iframe>
<iframe srcdoc="&lt;script&gt;parent.__pwned=1&lt;/script&gt;"></iframe>
<embed src="javascript:alert(1)">
<object data="javascript:alert(1)"></object>
<object data="data:text/html,<script>alert(1)</script>"></object>
<form action="javascript:alert(1)"><input type=submit></form>
<button formaction="javascript:alert(1)">go</button>
<input type=image src=x formaction=javascript:alert(1)>
<base href="javascript:alert(1)//">
<meta http-equiv="refresh" content="0;url=javascript:alert(1)">
<meta http-equiv=refresh content="0; url=data:text/html,<script>alert(1)</script>">
<meta charset=utf-7>+ADw-script+AD4-alert(1)+ADw-/script+AD4-
<link rel=import href="data:text/html,<script>alert(1)</script>">
<a href="javascript:alert(1)">here</a>
<a href=javascript:alert(1) target=_blank>there</a>
<area shape=default href=javascript:alert(1)>
<frameset onload=alert(1)><frame src=x></frameset>
<a ping="data:,alert(1)" href="#">ping</a>
<input type=hidden name=next value="javascript:alert(1)">
</body></html><script>alert(1)</script>
</title><script>alert(1)</script>
</textarea><script>alert(1)</script>
</style><script>alert(1)</script>
</script><script>alert(1)</script>
</noscript><script>alert(1)</script>
</template><script>alert(1)</script>
</select><img src=x onerror=alert(1)>
</option></select><svg onload=alert(1)>
</time></a></p></li></ul></main><img src=x onerror=alert(1)>
</pre></code><script>alert(1)</script>
<plaintext><script>alert(1)</script>
<xmp><p title="</xmp><img src=x onerror=alert(1)>">
<table><tr><td><script>alert(1)</script></table>
""",
    "attribute": r"""
" onmouseover="alert(1)
' onmouseover='alert(1)
` onmouseover=`alert(1)
"onfocus=alert(1) autofocus x="
'onfocus=alert(1) autofocus x='
x onfocus=alert(1) autofocus
x/onfocus=alert(1)/autofocus
"><script>alert(1)</script>
'><script>alert(1)</script>
`><script>alert(1)</script>
><script>alert(1)</script>
/><script>alert(1)</script><i x="
"><img src=x onerror=alert(1)>
'"><img src=x onerror=alert(1)><!--
"'`><svg onload=alert(1)>
\" onmouseover=alert(1) x=\"
\"><script>alert(1)</script>
&quot; onmouseover=&quot;alert(1)
&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;
&#34; onmouseover=&#34;alert(1)
&#x22;&#x3e;&#x3c;script&#x3e;alert(1)&#x3c;/script&#x3e;
" style="animation:x" onanimationend="alert(1)
" srcdoc="<script>alert(1)</script>
" href="javascript:alert(1)
" formaction="javascript:alert(1)
" http-equiv="refresh" content="0;javascript:alert(1)
" accesskey="x" onclick="alert(1)" tabindex="1
"=""onclick=alert(1)//
\'><script>alert(1)</script>
""",
    "svg and mathml": r"""
<svg onload=alert(1)>
<svg/onload=alert(1)>
<svg><script>alert(1)</script></svg>
<svg><script>alert&#40;1&#41;</script></svg>
<svg><script href="data:text/javascript,alert(1)"/></svg>
<svg><script xlink:href=data:,alert(1)></script></svg>
<svg><a xlink:href="javascript:alert(1)"><text y=20>press</text></a></svg>
<svg><a href="javascript:alert(1)"><circle r=99 /></a></svg>
<svg><animate onbegin=alert(1) attributeName=x dur=1s>
<svg><set attributeName=href to=javascript:alert(1) /></svg>
<svg><animate attributeName=href values=javascript:alert(1) /></svg>
<svg><use href="data:image/svg+xml,<svg id=x onload=alert(1) />#x"></svg>
<svg><image href=x onerror=alert(1) />
<svg><foreignObject><iframe onload=alert(1)></foreignObject></svg>
<svg><style><img src=x onerror=alert(1)></style></svg>
<svg><title><script>alert(1)</script></title></svg>
<svg><desc></desc><p><style><!--</style><img src=x onerror=alert(1)>-->
<svg xmlns="http://www.w3.org/2000/svg" onload="window.__pwned=1"/>
<math><a href="javascript:alert(1)">press</a></math>
<math href="javascript:alert(1)">press</math>
<math><maction actiontype=statusline xlink:href=javascript:alert(1)>x</maction></math>
<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext>
<math><annotation-xml encoding="text/html"><script>alert(1)</script></annotation-xml></math>
<math><mi><style><!--</style><img title="--&gt;&lt;img src=x onerror=alert(1)&gt;">
""",
    "css": r"""
<style>*{background:url(javascript:alert(1))}</style>
<style>@import 'javascript:alert(1)';</style>
<style>p{x:expression(alert(1))}</style>
<p style="background:url(javascript:alert(1))">x</p>
<p style="width:expression(alert(1))">x</p>
<p style="x:\65xpression(alert(1))">x</p>
<p style="behavior:url(#default#alert(1))">x</p>
<p style="-moz-binding:url(data:text/xml,alert(1))">x</p>
<p style='background:url("data:image/svg+xml,<svg onload=alert(1)>")'>x</p>
red;}</style><script>alert(1)</script>
red"></style><script>alert(1)</script><style x="
red;background:url(javascript:alert(1))
#fff;}*{background:url("javascript:alert(1)")}
#000}@import url(data:text/css,alert(1));a{color:red
red/**/;x:expression(alert(1))
\3c script\3e alert(1)\3c /script\3e
}*{--x:"</style><img src=x onerror=alert(1)>"}
url(javascript:alert(1))
expression(window.__pwned=1)
var(--x,url(javascript:alert(1)))
<link rel=stylesheet href="data:text/css,*{content:'alert(1)'}">
""",
    "template": r"""
{{ alert(1) }}
{{alert(1)|safe}}
{{ '<script>alert(1)</script>' | safe }}
{{ constructor.constructor('alert(1)')() }}
{{ self.__init__.__globals__['alert(1)'] }}
{{ ''.__class__.__mro__[1].__subclasses__() }}{{ 'alert(1)' }}
{{ config.items() }}{{ "alert(1)" }}
{{{ alert(1) }}}
{{= alert(1) }}
{{& "<script>alert(1)</script>" }}
{% set x = '<script>alert(1)</script>' %}{{ x|safe }}
{% autoescape false %}<script>alert(1)</script>{% endautoescape %}
{% raw %}<script>alert(1)</script>{% endraw %}
{% include 'alert(1)' %}
{% print('alert(1)') %}
{%- if true -%}<script>alert(1)</script>{%- endif -%}
{# #}<script>alert(1)</script>{# #}
{{ '{{' }}alert(1){{ '}}' }}
# for x in '<script>alert(1)</script>'
${alert(1)}
${'<script>alert(1)</script>'}
$${window.__pwned=1}
#{alert(1)}
*{alert(1)}
@{alert(1)}
@(alert(1))
~{alert(1)}
<%= alert(1) %>
<% alert(1) %>
<%- '<script>alert(1)</script>' %>
<%! alert(1) %>
<?= alert(1) ?>
<?php echo '<script>alert(1)</script>'; ?>
[[ alert(1) ]]
[% alert(1) %]
%(alert(1))s
%s%n%x alert(1)
{0.__class__.__init__.__globals__} {alert(1)}
{alert(1)!r:>99}
$alert(1) ${__pwned}
<p ng-app ng-init="alert(1)">{{ 1 }}</p>
<p v-html="'<img src=x onerror=alert(1)>'">x</p>
<p x-data x-init="alert(1)">x</p>
<p hx-on:load="alert(1)" hx-trigger=load>x</p>
""",
    "markdown": r"""
[x](javascript:alert(1))
[x](JaVaScRiPt:alert(1))
[x](javascript:window.__pwned=1)
[x]( javascript:alert(1) )
[x](<javascript:alert(1)>)
[x](<java script:alert(1)>)
[x](javascript&colon;alert(1))
[x](javascript&#58;alert(1))
[x](javascript&#x3a;alert(1))
[x](&#106;avascript:alert(1))
[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;alert(1))
[x](java&Tab;script:alert(1))
[x](java&NewLine;script:alert(1))
[x](java&#9;script&#10;:alert(1))
[x](&#1;javascript:alert(1))
[x](javascript%3Aalert(1))
[x](%6Aavascript:alert(1))
[x](java\script:alert(1))
[x](javascript\:alert(1))
[x](javascript://%0Aalert(1))
[x](javascript:alert(1) "javascript:alert(1)")
[x](javascript:alert&#40;1&#41;)
[x](data:text/html,<script>alert(1)</script>)
[alert(1)](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)
[x](data:image/svg+xml,<svg/onload=alert(1)>)
[x](DATA:text/html,%3Cscript%3Ealert(1)%3C/script%3E)
[x](vbscript:alert(1))
[x](VBSCRIPT&colon;alert(1))
[x](file:///alert(1))
[x](blob:null/alert(1))
[x](view-source:javascript:alert(1))
[x](feed:javascript:alert(1))
[x](filesystem:http://127.0.0.1/alert(1))
[x](https://127.0.0.1/" onclick="alert(1))
[x](https://127.0.0.1/ "x" onclick="alert(1)")
[x](https://127.0.0.1/ '"><script>alert(1)</script>')
[x](//127.0.0.1/<script>alert(1)</script>)
[<script>alert(1)</script>](https://127.0.0.1/)
[![x](x"onerror="alert(1))](javascript:alert(1))
![x](javascript:alert(1))
![x](x"onerror="alert(1))
![" onerror="alert(1)](x)
![x](x 'x" onerror="alert(1)')
![<img src=x onerror=alert(1)>](x)
<javascript:alert(1)>
<JAVASCRIPT:alert(1)>
<data:text/html,alert(1)>
<vbscript:alert(1)>
<https://127.0.0.1/"onclick="alert(1)>
<x@y.example"onclick="alert(1)>
https://127.0.0.1/"onmouseover="alert(1)
www.example.com/"><script>alert(1)</script>
`<script>alert(1)</script>`
``<img src=x onerror=alert(1)>``
**<script>alert(1)</script>**
~~<img src=x onerror=alert(1)>~~
# <script>alert(1)</script>
> <script>alert(1)</script>
- <img src=x onerror=alert(1)>
1. <svg onload=alert(1)>
\<script>alert(1)\</script>
&lt;script&gt;alert(1)&lt;/script&gt;
&amp;lt;script&amp;gt;alert(1)&amp;lt;/script&amp;gt;
<a href="https://127.0.0.1/" onclick="alert(1)">**bold**</a>
<!-- *x* --><img src=x onerror=alert(1)>
{: onclick="alert(1)"}
[x]{onclick=alert(1)}
[^1]: <script>alert(1)</script>
$$\href{javascript:alert(1)}{x}$$
""",
    "url": r"""
javascript:alert(1)
JAVASCRIPT:alert(1)//
javascript:/*--></title></style></textarea></script><svg onload=alert(1)>*/
javascript:%61lert(1)
javascript&colon;alert(1)
javascript:window.__pwned=1
data:text/html,<script>alert(1)</script>
data:text/html;charset=utf-7,+ADw-script+AD4-alert(1)+ADw-/script+AD4-
data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>
vbscript:alert(1)
//127.0.0.1:1/?alert(1)
/\127.0.0.1:1/?alert(1)
\\127.0.0.1:1\alert(1)
https:alert(1)
http://127.0.0.1:1/?"><script>alert(1)</script>
http://javascript:alert(1)@127.0.0.1:1/
../../alert(1)?next=javascript:alert(1)#<script>alert(1)</script>
?q=<script>alert(1)</script>&sort=" onclick="alert(1)
#<img src=x onerror=alert(1)>
%3Cscript%3Ealert(1)%3C%2Fscript%3E
%253Cscript%253Ealert(1)%253C%252Fscript%253E
%22%20onmouseover%3D%22alert(1)
""",
    "encoding": r"""
&#60;script&#62;alert(1)&#60;/script&#62;
&#x3C;script&#x3E;alert(1)&#x3C;/script&#x3E;
&#0000060;script&#0000062;alert(1)&#0000060;/script&#0000062;
&LT;script&GT;alert(1)&LT;/script&GT;
&lt;img src=x onerror=alert(1)&gt;
&#x26;lt;script&#x26;gt;alert(1)
\u003cscript\u003ealert(1)\u003c/script\u003e
\x3cscript\x3ealert(1)\x3c/script\x3e
\074script\076alert(1)\074/script\076
+ADw-script+AD4-alert(1)+ADw-/script+AD4-
%C0%BCscript%C0%BEalert(1)%C0%BC/script%C0%BE
%u003Cscript%u003Ealert(1)
&#x110000;&#xD800;<script>alert(1)</script>
&#128;&#0;<script>alert(1)</script>
=?utf-8?Q?=3Cscript=3E?=alert(1)
~{alert(1)~}
""",
    "json and javascript": r"""
"};alert(1);//
"}]}</script><script>alert(1)</script>
";alert(1);//
';alert(1);//
`;alert(1);//
${alert(1)}`
\";alert(1);//
\\";alert(1);//
"-alert(1)-"
'-alert(1)-'
"+alert(1)+"
"});window.__pwned=1;({"
</script><!--<script>alert(1)</script>
<!--<script>alert(1)
-->alert(1)
*/alert(1)/*
{"__proto__":{"__pwned":1}}
{"constructor":{"prototype":{"onerror":"alert(1)"}}}
\';alert(1);//
""",
    "comment": r"""
--><script>alert(1)</script><!--
--!><script>alert(1)</script><!--
<!--><script>alert(1)</script>-->
<!---><script>alert(1)</script>-->
<!-- --!><img src=x onerror=alert(1)> -->
<!-<script>alert(1)</script>->
<!--[if IE]><script>alert(1)</script><![endif]-->
<![CDATA[<script>alert(1)</script>]]>
]]><script>alert(1)</script><![CDATA[
<svg><![CDATA[</svg><script>alert(1)</script>]]></svg>
<!doctype html><script>alert(1)</script>
<!DOCTYPE x [<!ENTITY y "<script>alert(1)</script>">]>&y;
<?xml version="1.0"?><script>alert(1)</script>
<?xml-stylesheet href="javascript:alert(1)"?>
<? ><script>alert(1)</script>
</ ><script>alert(1)</script>
</!><img src=x onerror=alert(1)>
<//script><script>alert(1)</script>
<$><script>alert(1)</script>
""",
}
"""One on each line."""

_UNSEEN = {
    "lines": (
        "[x](java\tscript:alert(1))",
        "[x](java\nscript:alert(1))",
        "[x](java\r\nscript:alert(1))",
        "[x][y]\n\n[y]: javascript:alert(1)",
        "[y]\n\n[y]: <javascript:alert(1)> 'x'",
        "[y][]\n\n[Y]: JAVASCRIPT&colon;alert(1)",
        '[x][y]\n\n[y]: https://127.0.0.1/ "\\" onclick=alert(1) x=\\""',
        "![x][y]\n\n[y]: x\"onerror='alert(1)'",
        "<div>\n<script>alert(1)</script>\n</div>",
        "<script>\n\nalert(1)\n\n</script>",
        "<pre>\n<img src=x onerror=alert(1)>\n</pre>",
        "<style>\n</style>\n<script>alert(1)</script>",
        "<!--\n--><script>alert(1)</script>",
        "<?\n?><script>alert(1)</script>",
        "```\n</code></pre><script>alert(1)</script>\n```",
        "```html\n<script>alert(1)</script>\n```",
        '```" onclick="alert(1)\nx\n```',
        '~~~ "><script>alert(1)</script>\nx\n~~~',
        "    <script>alert(1)</script>",
        "> ```\n<script>alert(1)</script>",
        "- x\n\n  <img src=x onerror=alert(1)>",
        "<img\nsrc=x\nonerror=alert(1)>",
        "<img\tsrc=x\tonerror=alert(1)>",
        "<a href='java\nscript:alert(1)'>x</a>",
        "<script>alert(1)</script\n>",
        "|x|y|\n|:-|-:|\n|<script>alert(1)</script>|[x](javascript:alert(1))|",
        "<script>alert(1)</script>\n===",
        "x\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>",
        "x\r\nSet-Cookie: x=alert(1)",
        "x\nLocation: javascript:alert(1)\n\n",
        "x\rX-Accel-Redirect: /alert(1)\r\r<script>alert(1)</script>",
        "data: x\n\nevent: message\ndata: <script>alert(1)</script>\n\n",
        "// \nalert(1)",
        "// \u2028alert(1)",
        "// \u2029alert(1)",
        "x\u2028</script><script>alert(1)</script>",
    ),
    "characters": (
        "<\u200bscript>alert(1)</script>",
        "<scr\u200dipt>alert(1)</scr\u200dipt>",
        "[x](java\u200bscript:alert(1))",
        "[x](\ufeffjavascript:alert(1))",
        "[x](\u00a0javascript:alert(1))",
        "[x](javascript\uff1aalert(1))",
        "[x](java\u00adscript:alert(1))",
        "\u202e<script>alert(1)</script>\u202c",
        "\u2066<img src=x onerror=alert(1)>\u2069",
        '\u200f" onmouseover="alert(1)',
        "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
        "\uff02 onmouseover=\uff02alert(1)",
        "\u2039script\u203aalert(1)\u2039/script\u203a",
        "\u02b9\u02ba><script>alert(1)</script>",
        "<img src=x onerror\u200b=alert(1) onload=alert(1)>",
        "<\u017fcript>alert(1)</\u017fcript>",
        "<svg on\u017foad=alert(1) onload=alert(1)>",
        "[x](javas\u0441ript:alert(1))",
        "<img\u3000src=x\u3000onerror=alert(1)>",
        "<img\u00a0src=x onerror=alert(1)>",
        "\ufffd<script>alert(1)</script>",
        "\U0001f4a5<script>alert(1)</script>",
        'e\u0301"><script>alert(1)</script>',
        "\ufeff<script>alert(1)</script>",
        "\U000e003cscript\U000e003e<script>alert(1)</script>",
        "\ufdd0\uffff<script>alert(1)</script>",
    ),
}
"""Those with characters that a reader of the source would not see, or that break lines."""


@dataclass(frozen=True)
class Payload:
    """A hostile text.

    Attributes:
        category: what it hopes to break out of, or what it is written in.
        text: itself.
    """

    category: str
    text: str

    @property
    def is_name(self) -> bool:
        """Whether it is one line, as names have to be."""
        return not any(character in self.text for character in "\t\n\r\u2028\u2029")


PAYLOADS = (
    *(
        Payload(category, text)
        for category, texts in _MARKUP.items()
        for text in texts.strip("\n").split("\n")
    ),
    *(Payload(category, text) for category, texts in _UNSEEN.items() for text in texts),
)
