"""The pages for those who are signed in: a module for each resource.

A handler reads a form, carries out an operation, and redirects or shows a template::

    async def add(site: Site, request: Request) -> Response:
        form = await read_form(request)
        try:
            await site.run(request, AddThingRequest(name=form.get("name", "")))
        except REFUSALS as error:
            return _new_page(site, request, refused(form, error))
        return done(site, request, "thing-added", to="things")

An error that is not among `REFUSALS` becomes a page by itself, see `statusthing.web.failures`.
"""
